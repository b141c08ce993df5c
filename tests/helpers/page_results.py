"""A results folder for the tests of the page, and its page read back as a browser would without scripts."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from helpers.simulated_scores import simulated, write_scores

from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.datasets import get_dataset

LABELS = get_dataset("totalseg").label_names
CENTRES = {"UNETR": 0.6, "3D UX-Net": 0.825, "Swin SMT (ours)": 0.95}  # below, about and above what was printed
BUILT = ("table1_totalseg", "table2_experts", "table1_abdomenmri")


def run_of(row: str) -> str:
    catalog = load_catalog()
    return catalog.cell_runs(catalog.target("table1_totalseg"), row)[0]


def write_results(folder: Path) -> Path:
    """Scores of three rows, a control, counted networks, a log and a loss curve, and the tables built from them."""
    for number, (row, centre) in enumerate(CENTRES.items()):
        values = np.repeat(simulated(30, centre, number)[:, :1], len(LABELS), axis=1)
        run = run_of(row)
        write_scores(folder / "runs" / run / "scores.parquet", run, values, classes=LABELS, config_digest="")
    control = folder / "controls/swin_smt/totalseg/class_prior/scores.parquet"
    write_scores(control, "control/class_prior", np.full((30, len(LABELS)), 0.25), classes=LABELS)
    lines = f"row,run,parameters,flops\nUNETR,{run_of('UNETR')},102028918,1\n"
    for path, text in {
        "cost/table1_totalseg.csv": lines,
        f"logs/runs/{run_of('UNETR')}/train.log": "step 1\n",
        "training/table1_totalseg.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>',
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for target in BUILT:
        controls = ["--controls", str(control)] if target == "table1_totalseg" else []
        assert main(["table", target, "--results", str(folder), *controls]) == 0
    return folder


def write_page(folder: Path) -> Path:
    """The page of a results folder."""
    assert main(["page", "--results", str(folder)]) == 0
    return folder / "index.html"


def csv_lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@dataclass(eq=False, repr=False)  # each knows its parents: shown, one would fill the memory
class Element:
    """One element of the page: its tag, attributes, and the text in it and below it."""

    tag: str
    attributes: dict[str, str]
    parents: tuple[Element, ...]
    text: str = ""
    below: list[Element] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.attributes.get("class", "").split()

    def inside(self, **attributes: str) -> bool:
        return any(
            parent.attributes.get(name) == value for parent in self.parents for name, value in attributes.items()
        )


@dataclass
class Reader(HTMLParser):
    """Every element of a page, in its order."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open))
        self.elements.append(element)
        for parent in self._open:
            parent.below.append(element)
        if tag not in ("meta", "link", "input", "br", "img", "hr"):
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop().tag == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data


def read_page(text: str) -> tuple[list[Element], dict[str, dict]]:
    """Elements of a page, and the data of its parts."""
    reader = Reader()
    reader.feed(text)
    scripts = {element.attributes.get("id", ""): element.text for element in reader.elements if element.tag == "script"}
    data = {name.removeprefix("data-"): json.loads(text) for name, text in scripts.items() if name.startswith("data-")}
    return reader.elements, data
