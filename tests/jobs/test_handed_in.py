"""Results made elsewhere: which files stand for which runs, what is then trained, and what a cell says without them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers.simulated_scores import write_scores

from benchmark import lineage
from benchmark.audit.coverage import coverage
from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.jobs.products import Products
from benchmark.jobs.wiring import Wiring
from benchmark.layout import Layout

CATALOG = load_catalog()
TABLE = SimpleNamespace(target="table1_totalseg")
UNETR, SWIN_SMT = (CATALOG.cell_runs(CATALOG.target(TABLE.target), row)[0] for row in ("UNETR", "Swin SMT (ours)"))


def wired(**configuration) -> tuple[Wiring, Products]:
    wiring = Wiring({"paper_tables": str(CATALOG.folder), **configuration})
    return wiring, Products(wiring)


@pytest.fixture
def maps(tmp_path):
    """A folder with one file, as if somebody had predicted one case."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/s0000.nii.gz").write_bytes(b"maps")
    return tmp_path / "maps"


@pytest.mark.parametrize("by", ["row", "run"])
def test_a_row_or_a_run_is_not_trained_and_all_others_are(maps, by):
    given = {TABLE.target: {"UNETR": str(maps)}} if by == "row" else {UNETR: str(maps)}
    wiring, products = wired(predictions=given)
    target, all_runs = CATALOG.target(TABLE.target), wired()[0].ready_runs(CATALOG.target(TABLE.target))
    assert wiring.ready_runs(target) == all_runs
    assert products.trainings_of(target) == [run for run in all_runs if run != UNETR]
    assert wiring.predicted(SimpleNamespace(run=UNETR)) == str(maps)
    assert wiring.handed_in_argument(SimpleNamespace(run=UNETR)) == ["--handed-in"]
    assert wiring.handed_in_argument(SimpleNamespace(run=SWIN_SMT)) == []
    assert products.handed_in(TABLE) == ["--handed-in", "predictions", UNETR, str(maps)]


def test_what_is_missing_is_no_input_of_any_job(tmp_path):
    wiring = wired(predictions={TABLE.target: {"UNETR": str(tmp_path / "nowhere")}})[0]
    assert UNETR not in wiring.ready_runs(CATALOG.target(TABLE.target))
    assert wiring.layout.absent(UNETR) == f"no predictions in {tmp_path}/nowhere"
    (tmp_path / "nowhere").mkdir()  # an empty folder is as good as none
    assert wiring.layout.absent(UNETR)


def test_a_folder_of_all_runs_gives_what_it_has(maps, tmp_path):
    folder = tmp_path / "all"
    (folder / UNETR).parent.mkdir(parents=True)
    maps.rename(folder / UNETR)
    target = CATALOG.target(TABLE.target)
    rest = wired(predictions=str(folder))[1].trainings_of(target)
    assert len(rest) == 11 and UNETR not in rest
    wiring, products = wired(start_from="predictions", predictions=str(folder))
    assert wiring.ready_runs(target) == [UNETR] and products.trainings_of(target) == []
    assert wiring.layout.absent(SWIN_SMT) == f"no predictions in {folder}/{SWIN_SMT}"


def test_scores_need_no_data(tmp_path):
    file = write_scores(tmp_path / "theirs.parquet", "theirs", np.ones((3, 7)))
    wiring, products = wired(start_from="scores", scores={TABLE.target: {"UNETR": str(file)}})
    assert products.scores(TABLE) == [str(file)]
    assert products.controls(TABLE) == products.stores(TABLE) == []
    assert wiring.layout.absent(SWIN_SMT) == "no scores handed in"
    assert wiring.layout.no_predictions(UNETR) == "only scores handed in"


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"start_from": "predictions"}, "start_from: predictions without predictions"),
        ({"start_from": "scores", "predictions": "here"}, "start_from: scores without scores"),
        ({"predictions": "/nowhere"}, "there is no folder of predictions"),
        ({"predictions": {"table1_totalsge": {"UNETR": "x"}}}, "did you mean 'table1_totalseg'"),
        ({"predictions": {"table1_totalseg": {"UNETTR": "x"}}}, "did you mean 'UNETR'"),
        ({"scores": {UNETR + "1": "x"}}, "unknown scored run"),
        ({"scores": {"table2_umamba": {"nnU-Net": "x"}}}, "rests on 3 runs"),
        ({"targets": []}, "an empty list of targets"),
        ({"roots": {"totalsge": "/data"}}, "did you mean 'totalseg'"),
    ],
)
def test_what_is_misspelt_or_forgotten_is_said(configuration, words):
    with pytest.raises(InputError, match=words):
        wired(**configuration)


def table(out, *words: str) -> str:
    assert main(["table", TABLE.target, "--results", str(out), *words]) == 0
    return (out / f"{TABLE.target}.compare.csv").read_text(encoding="utf-8")


def test_scores_of_a_row_fill_its_cells_under_whatever_name(tmp_path):
    """The values are those of the file; the cell says where they are from; other rows say why they have none."""
    labels = get_dataset("totalseg").label_names
    file = write_scores(
        tmp_path / "t.parquet", "lab's own", np.full((4, len(labels)), 0.75), classes=labels, config_digest=""
    )
    given = ["--handed-in", "scores", UNETR, str(file), "--handed-in", "predictions", SWIN_SMT, "/nowhere"]
    lines = table(tmp_path / "out", *given).splitlines()
    unetr = next(line for line in lines if line.startswith("UNETR,Organs"))
    digest = lineage.recorded_digest(file)[:16]
    assert ",73.84,75.0000," in unetr and f"handed in, by whom is not known, SHA-256 {digest}" in unetr
    own = next(line for line in lines if line.startswith("Swin SMT (ours),Organs"))
    assert "not attempted (no predictions in /nowhere)" in own
    page = (tmp_path / "out" / f"{TABLE.target}.md").read_text(encoding="utf-8")
    assert f"- UNETR: handed in, by whom is not known, SHA-256 {digest}." in page


def test_coverage_calls_it_neither_rebuilt_nor_missing(tmp_path):
    labels = get_dataset("totalseg").label_names
    values = np.full((4, len(labels)), 0.75)
    file = write_scores(tmp_path / "t.parquet", UNETR, values, classes=labels, config_digest="")
    table(tmp_path, "--handed-in", "scores", UNETR, str(file))
    lines = {(line.row, line.column): line for line in coverage(CATALOG, Layout(str(tmp_path)), "paper")}
    assert lines["UNETR", "Organs"].state == lines["UNETR", "Overall"].state == "handed in"
    assert lines["Swin SMT (ours)", "Organs"].state == "not attempted"


def test_a_file_of_other_runs_is_refused(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [write_scores(tmp_path / f"{name}.parquet", name, np.ones((2, 7))) for name in "ab"]
    pq.write_table(pa.concat_tables([pq.read_table(file) for file in files]), tmp_path / "both.parquet")
    words = ["--handed-in", "scores", UNETR, str(tmp_path / "both.parquet")]
    assert main(["table", TABLE.target, "--results", str(tmp_path), *words]) == 2
    assert "does not hold the run" in (told := capsys.readouterr().err) and "a, b" in told


def test_contents_are_read_again_only_where_a_file_has_changed(maps):
    first = lineage.contents(maps)
    known = {name: [*entry[:2], "kept"] for name, entry in first.items()}
    assert lineage.contents(maps, known)["s0000.nii.gz"][2] == "kept"
    (maps / "s0000.nii.gz").write_bytes(b"other")
    assert lineage.contents(maps, known)["s0000.nii.gz"][2] not in ("kept", first["s0000.nii.gz"][2])
    assert lineage.contents_digest(first) != lineage.contents_digest(lineage.contents(maps))
    assert lineage.contents(maps / "nowhere") == {}


def test_the_configuration_in_the_documents_is_one():
    page = (CATALOG.folder.parent / "docs/elsewhere.md").read_text(encoding="utf-8")
    block = next(part for part in page.split("```") if part.lstrip().startswith("# lab.yaml"))
    layout = wired(**yaml.safe_load(block))[0].layout
    assert {run: path for run, path in layout.predictions.items() if path} == {
        UNETR: "/lab/unetr",
        SWIN_SMT: "/lab/swin_smt",
    }
    assert layout.absent(UNETR) == "no predictions in /lab/unetr"
