"""What figures say of themselves: what is rebuilt or published, at which scale, and whose network is drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.evidence.figure import draw, lacks_released_weights
from benchmark.evidence.figure_data import Numbers, Request, another_network, bubbles_of
from benchmark.evidence.figures.style import STAMP, new_figure, save_figure, stamp
from benchmark.files import write_text
from benchmark.layout import Layout

CATALOG = load_catalog()
TABLES = ("table1_abdomenmri", "table2_endoscopy", "table3_microscopy")
COST = [str(CATALOG.folder / paper / "measured" / "flops.csv") for paper in ("swin_umamba", "swin_umamba_dagger")]


def stamp_of(figure: Figure) -> str:
    (text,) = [text for text in figure.texts if text.get_gid() == STAMP]
    return " ".join(text.get_text().split())


def request(target: str, folder: Path, **keywords) -> Request:
    return Request(CATALOG, CATALOG.target(target), keywords.pop("scale", "paper"), Layout(str(folder)), **keywords)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The three tables of TMI Fig. 1 with counted networks and without any score."""
    folder = tmp_path_factory.mktemp("results")
    for table in TABLES:
        assert main(["table", table, "--results", str(folder), "--cost", *COST, "--scores"]) == 0
    return folder


@pytest.mark.parametrize(
    ("published", "counted", "words"),
    [
        (60, 114.2, "114 M, printed 60 M"),
        (28, 27.5, ""),
        (370.74, 31.29, "31.3 M, printed 371 M"),
        (150, float("nan"), ""),
    ],
)
def test_a_network_of_another_size_is_another_network(published: float, counted: float, words: str) -> None:
    assert another_network(Numbers(published=published, rebuilt=counted), "M") == words


def test_only_nnformer_is_not_the_network_whose_score_is_published(results: Path) -> None:
    """The audit's finding: our port of 114 M stood unmarked under the score of the paper's 60 M."""
    marked = {bubble.label: bubble.another for bubble in bubbles_of(request("fig1_score_vs_flops", results))}
    assert {label for label, words in marked.items() if words} == {"nnFormer"}
    drawn = draw(request("fig1_score_vs_flops", results))
    assert "§ not the network whose score is published: nnFormer (114 M, printed 60 M)" in drawn.get_supxlabel()
    labels = {text.get_text() for axes in drawn.axes for text in axes.texts}
    assert "nnFormer ‡ §" in labels and "UNETR ‡" in labels


def test_a_demo_without_scores_does_not_call_published_ones_its_own(results: Path) -> None:
    drawn = draw(request("fig1_score_vs_flops", results, scale="demo"))
    assert "no score is rebuilt" in stamp_of(drawn) and drawn.get_suptitle() == ""
    published = draw(request("fig1_score_vs_flops", results, published_only=True))
    assert stamp_of(published) == "published: 11 circles"


def test_scores_of_a_demo_and_of_a_pilot_say_so(results: Path, tmp_path: Path) -> None:
    for table in TABLES:
        text = (results / f"{table}.compare.csv").read_text(encoding="utf-8")
        lines = [line.split(",") for line in text.splitlines()]
        rebuilt, column = lines[0].index("rebuilt"), lines[0].index("column")
        for line in lines[1:]:
            line[rebuilt] = "0.5" if line[column] in ("DSC", "NSD", "F1") else line[rebuilt]
        write_text(tmp_path / f"{table}.compare.csv", "\n".join(map(",".join, lines)) + "\n")
    demo = draw(request("fig1_score_vs_flops", tmp_path, scale="demo"))
    assert stamp_of(demo) == "rebuilt: 11 circles; demo scale, not comparable" and "demo" in demo.get_suptitle()
    assert "pilot: a share of the steps" in stamp_of(draw(request("fig1_score_vs_flops", tmp_path, scale="pilot")))


def test_bars_say_how_large_their_networks_are(tmp_path: Path) -> None:
    drawn = draw(request("fig5_training_procedure", tmp_path))
    names = [label.get_text().split("\n") for label in drawn.axes[0].get_xticklabels()]
    assert [name[-2:] for name in names] == [["27.5 M", "18.9 GFLOPs"]] * 3
    assert stamp_of(drawn).startswith("published: printed numbers, the table's less the differences")
    assert "rebuilt: 0 of 3 rows" in stamp_of(drawn)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_stamp_makes_the_file_taller_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    heights = []
    for name, text in (("plain", ""), ("stamped", "word " * 60)):
        figure = new_figure(4.0, 2.0)
        save_figure(stamp(figure, text) if text else figure, [tmp_path / f"{name}{suffix}"])
        heights.append(height_of(tmp_path / f"{name}{suffix}"))
    assert heights[0] == pytest.approx(2.0, abs=0.01) and 2.3 < heights[1] < 2.8


def height_of(path: Path) -> float:
    """Inches."""
    if path.suffix == ".svg":
        return float(ElementTree.parse(path).getroot().attrib["height"].removesuffix("pt")) / 72
    return int.from_bytes(path.read_bytes()[20:24], "big") / 200


def test_only_the_pretrained_decoder_of_fig_5_lacks_weights_and_only_in_the_demo(tmp_path: Path) -> None:
    """Nobody has VMamba-Tiny in the demo's width, so that the row is trained like the first one; the stamp says so."""
    rows = CATALOG.target("fig5_training_procedure").rows
    for scale, expected in (("demo", ["w/ pretrained decoder"]), ("paper", [])):
        asked = request("fig5_training_procedure", tmp_path, scale=scale)
        assert [row for row in rows if lacks_released_weights(asked, row)] == expected
