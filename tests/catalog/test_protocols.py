"""What protocols extend: one deep, in what order, and which recipe they are of which."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.catalog.catalog import DEFAULT_FOLDER, Catalog, load_catalog
from benchmark.catalog.protocols import base_protocol, load_protocols, recipes_of
from benchmark.catalog.provenance import Origin
from benchmark.errors import InputError
from benchmark.own import use_folders

CATALOG = load_catalog()
OURS = {folder.name: folder for folder in DEFAULT_FOLDER.iterdir() if folder.is_dir()}
MINE = Origin("ours", "a test")


def load(path: Path, text: str) -> dict:
    path.write_text(text, encoding="utf-8")
    return load_protocols(path, OURS, MINE)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "protocols.yaml"


@pytest.mark.parametrize("paper", sorted(OURS))
def test_our_protocols_extend_one_deep_and_use_every_part(paper):
    text = (OURS[paper] / "protocols.yaml").read_text(encoding="utf-8")
    trees = yaml.safe_load(text)
    parts, used = trees.pop("parts", {}), set()
    for tree in trees.values():
        named = tree.get("extends", [])
        for base in [named] if isinstance(named, str) else named:
            assert "extends" not in {**parts, **trees}[base]
            used.add(base)
    assert not any("extends" in part for part in parts.values()) and set(parts) <= used
    assert "placeholder" not in text


@pytest.mark.parametrize("paper", sorted(OURS))
def test_a_recipe_is_on_the_dataset_of_its_protocol(paper):
    protocols = CATALOG.papers[paper].protocols
    found = {(base, recipe) for name in protocols for base, recipe in protocols[name].recipe_of.items()}
    assert len(found) == sum(len(protocol.recipe_of) for protocol in protocols.values())
    for protocol in protocols.values():
        assert {protocols[base].dataset for base in protocol.recipe_of} <= {protocol.dataset}


def test_the_later_holds_over_the_earlier_and_ones_own_over_both(path):
    found = load(
        path,
        "parts:\n  short: {training: {epochs: 3, batch: 5, devices: 1}}\n  small: {training: {batch: 2, devices: 2}}\n"
        "one: {extends: [swin_smt/totalseg, short, small], training: {devices: 4}}\n"
        "two: {extends: [swin_smt/totalseg, small, short]}\n",
    )
    values = {name: (one.training.epochs, one.training.batch, one.training.devices) for name, one in found.items()}
    assert values == {"one": (3, 2, 4), "two": (3, 5, 1)}
    assert found["one"].origins["training.batch"] == MINE and found["one"].origins["training.patch"].kind == "paper"


def test_another_papers_protocol_is_taken_as_it_stands_and_so_are_its_parts(path):
    found = load(
        path,
        "one: {extends: swin_umamba/endovis17-unetr}\n"
        "two: {extends: [swin_smt/totalseg, swin_umamba/unetr]}\n"
        "endovis17-unetr: {extends: swin_umamba/endovis17-unetr}\n",
    )
    theirs = CATALOG.papers["swin_umamba"].protocols["endovis17-unetr"]
    same = {"name", "recipe_of"}
    assert found["one"].model_dump(exclude=same) == theirs.model_dump(exclude=same)
    assert found["two"].training.optimiser == theirs.training.optimiser and found["two"].dataset == "totalseg"
    assert not found["one"].recipe_of and found["endovis17-unetr"].recipe_of == {"endovis17": "unetr"}


BASE = "base: {extends: swin_smt/totalseg}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BASE + "mine: {extends: base}", ["protocols.yaml: mine", "one deep", "mine → base → swin_smt/totalseg"]),
        (
            "a: {extends: [b, c]}\nb: {dataset: totalseg}\nc: {extends: [d, b]}\nd: {dataset: totalseg}",
            ["protocols.yaml: a", "a → c → d and b", "`parts`"],
        ),
        ("a: {extends: a}", ["protocols.yaml: a", "a → a → a"]),
        ("parts: {p: {extends: a}}\na: {extends: swin_smt/totalseg}", ["parts: p", "values alone", "extends"]),
        ("parts: {p: {recipe_of: {a: b}}}", ["parts: p", "values alone", "recipe_of"]),
        ("parts: {a: {dataset: totalseg}}\na: {extends: swin_smt/totalseg}", ["'a'", "a part and of a protocol"]),
        ("parts: [a]", ["protocols.yaml: parts", "mapping"]),
        ("a: totalseg", ["protocols.yaml: a", "mapping"]),
        ("a: {extends: {b: c}}", ["protocols.yaml: a", "a name or a list"]),
        ("parts: {short: {dataset: totalseg}}\na: {extends: shrot}", ["unknown", "did you mean 'short'"]),
        ("a: {extends: swin_smtt/totalseg}", ["protocols.yaml: a", "did you mean 'swin_smt'"]),
        ("a: {extends: swin_smt/totalsegg}", ["protocols.yaml: a", "did you mean 'totalseg'"]),
    ],
)
def test_what_cannot_be_extended_is_said(path, text, expected):
    with pytest.raises(InputError) as caught:
        load(path, text)
    assert all(part in str(caught.value) for part in expected), caught.value


def test_two_protocols_are_not_one_recipe_and_a_recipe_is_of_something(path):
    text = "".join(f"{name}: {{extends: swin_smt/totalseg, recipe_of: {{x: quick}}}}\n" for name in ("a", "b"))
    found = load(path, text)
    with pytest.raises(InputError, match="two protocols are the recipe 'quick' of 'x'") as caught:
        recipes_of(found, ["x"], path)
    assert "a and b" in str(caught.value)
    with pytest.raises(InputError, match="unknown protocol in `recipe_of` 'x'"):
        recipes_of(found, ["totalseg"], path)


def test_the_base_of_a_recipe_is_what_it_says_and_not_what_its_name_begins_with(path):
    found = load(
        path,
        "left-right: {extends: swin_smt/totalseg}\n"
        "tuned: {extends: swin_smt/totalseg, recipe_of: {left-right: tuned}}\n"
        "tuned-fold0: {extends: swin_smt/totalseg, recipe_of: {tuned: fold0}}\n"
        "abroad: {extends: swin_smt/totalseg, recipe_of: {totalseg: abroad}}\n"
        "circle: {extends: swin_smt/totalseg, recipe_of: {circle: itself}}\n",
    )
    assert {name: base_protocol(found, name) for name in found} == {
        "left-right": "left-right",
        "tuned": "left-right",
        "tuned-fold0": "left-right",
        "abroad": "totalseg",
        "circle": "circle",
    }


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A row of one's own in one of our tables, trained by a recipe whose name says nothing."""
    monkeypatch.setenv("RETABLE_PAPERS", "")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in {
        "paper": "{paper: mine, title: t, authors: [a], venue: v, year: 2026, source: ours}",
        "models": "net: {model: nnunet}",
        "protocols": "anything: {extends: swin_smt/totalseg, recipe_of: {totalseg: quick}, training: {epochs: 7}}",
        "rows": "{extend: table2_experts, rows: {Net: {model: net, recipe: quick}}}",
    }.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    use_folders([folder])
    return folder


def test_a_row_finds_its_recipe_by_what_the_protocol_says(mine):
    catalog = Catalog()
    assert catalog.cell_runs(catalog.target("table2_experts"), "Net") == ("mine/anything/net/seed0",)
    assert catalog.run("mine/anything/net/seed0").training.epochs == 7


def test_a_recipe_that_there_is_not_is_named_beside_those_that_there_are(mine):
    rows = mine / "rows.yaml"
    rows.write_text(rows.read_text(encoding="utf-8").replace("quick", "quik"), encoding="utf-8")
    with pytest.raises(
        InputError, match="unknown recipe 'quik' of the protocol totalseg; did you mean 'quick'"
    ) as caught:
        Catalog()
    assert "nnformer, nnunet, quick" in str(caught.value) and "recipe_of: {totalseg: quik}" in str(caught.value)
