"""The two commands, from files on disk to files on disk."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.simulated_scores import simulated, write_scores

from benchmark import lineage
from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.evidence.table import read_contradictions, read_controls, read_costs, read_latencies
from benchmark.files import write_json
from benchmark.layout import Layout
from benchmark.scoring.conventions import convention_digests, get_convention
from benchmark.scoring.folders import score_folders
from benchmark.scoring.pairs import pair_cases

LABELS = get_dataset("totalseg").label_names
TABLE = load_catalog().target("table1_totalseg")
RUNS = {row: load_catalog().cell_runs(TABLE, row)[0] for row in ("UNETR", "Swin SMT (ours)")}
KINDS = (".csv", ".compare.csv", ".md")


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder with the scores of two runs over all 117 structures, cost and controls."""
    folder = tmp_path / "results"
    for number, run in enumerate(RUNS.values()):
        values = np.repeat(simulated(6, 0.6 + 0.1 * number, number)[:, :1], len(LABELS), axis=1)
        write_scores(folder / "runs" / run / "scores.parquet", run, values, classes=LABELS, config_digest="")
    control = folder / "controls/swin_smt/totalseg/oracle/scores.parquet"
    write_scores(control, "control/oracle", np.ones((6, len(LABELS))), classes=LABELS)
    cost = folder / "cost/table1_totalseg.csv"
    cost.parent.mkdir(parents=True)
    cost.write_text(f"row,run,parameters,flops\nUNETR,{RUNS['UNETR']},102028918,1\nDiNTS,other,,\n", encoding="utf-8")
    return folder


def table(results: Path, *options: str, target: str = "table1_totalseg") -> int:
    return main(["table", target, "--results", str(results), *options])


def contents(folder: Path, target: str = "table1_totalseg") -> list[bytes]:
    return [(folder / f"{target}{kind}").read_bytes() for kind in KINDS]


def test_a_table_is_rebuilt_byte_by_byte_from_shipped_scores(results, tmp_path):
    """start_from: scores. Nothing but the score, cost and control files is needed, wherever they lie."""
    control = "controls/swin_smt/totalseg/oracle/scores.parquet"
    assert table(results, "--controls", str(results / control)) == 0
    first = contents(results)
    shipped = tmp_path / "elsewhere"
    for run in RUNS.values():
        (shipped / run).mkdir(parents=True)
        shutil.copy(results / "runs" / run / "scores.parquet", shipped / run)
    scores = [str(shipped / run / "scores.parquet") for run in reversed(RUNS.values())]
    cost, out = str(results / "cost/table1_totalseg.csv"), tmp_path / "out"
    options = ["--cost", cost, "--controls", str(results / control), "--out-dir", str(out)]
    assert table(tmp_path / "empty", "--scores", *scores, *options) == 0
    assert contents(out) == first
    assert b"control: oracle" in first[0] and b"102.02" in first[0]


def test_a_table_is_rebuilt_from_predictions_of_somebody_else(tmp_path):
    """start_from: predictions. Folders of label maps, scored and published, twice with the same bytes."""
    random = np.random.default_rng(0)
    references, run = tmp_path / "references", RUNS["UNETR"]
    for number in range(3):
        labels = random.integers(0, 4, (6, 6, 5)).astype(np.uint8)
        for folder, array in ((references, labels), (tmp_path / "predictions", np.where(labels == 2, 0, labels))):
            folder.mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array.astype(np.uint8), np.eye(4)), folder / f"s{number:04d}.nii.gz")
    for attempt in "ab":
        scores = tmp_path / attempt / "scores.parquet"
        scores.parent.mkdir()
        score_folders(
            pair_cases(references, tmp_path / "predictions"),
            scores,
            labels=dict(enumerate(LABELS, start=1)),
            conventions=[get_convention("swin_smt")],
            run=run,
            processes=1,
        )
        assert table(tmp_path / "empty", "--scores", str(scores), "--out-dir", str(tmp_path / attempt)) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    line = next(
        line
        for line in csv.DictReader((tmp_path / "a/table1_totalseg.csv").read_text(encoding="utf-8").splitlines())
        if line["row"] == "UNETR"
    )
    assert float(line["Organs"]) == pytest.approx(100 * 2 / 3, abs=0.01)  # of three structures present, one is missed


def test_demo_tables_say_so(results):
    assert table(results, "--scale", "demo") == 0
    page = (results / "table1_totalseg.md").read_text(encoding="utf-8")
    assert "Demo scale, not comparable" in page
    assert "not comparable (demo scale)" in (results / "table1_totalseg.compare.csv").read_text(encoding="utf-8")


def test_a_table_is_built_without_anything(tmp_path):
    assert table(tmp_path / "results", target="table2_experts") == 0
    assert "not attempted (not run)" in (tmp_path / "results/table2_experts.csv").read_text(encoding="utf-8")


def test_wrong_targets_are_refused(tmp_path, capsys):
    assert table(tmp_path, target="fig3b_speed_vs_dsc") == 2
    assert main(["figure", "table1_totalseg", "--results", str(tmp_path)]) == 2
    assert main(["table", "table9_unknown"]) == 2
    assert "retable figure fig3b_speed_vs_dsc" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_published_figures_need_no_results(tmp_path, capsys):
    assert main(["figure", "fig3b_speed_vs_dsc", "--published", "--results", str(tmp_path)]) == 0
    text = (tmp_path / "published/fig3b_speed_vs_dsc.svg").read_text(encoding="utf-8")
    assert "Universal Model" in text and "demo" not in text
    assert main(["figure", "fig3a_subgroups", "--published", "--results", str(tmp_path)]) == 2
    assert "prints no numbers" in capsys.readouterr().err


def test_bubbles_are_drawn_from_the_rebuilt_table(results):
    assert table(results) == 0
    assert main(["figure", "fig3b_speed_vs_dsc", "--results", str(results)]) == 0
    text = (results / "fig3b_speed_vs_dsc.svg").read_text(encoding="utf-8")
    assert "UNETR ‡" in text and "nnU-Net" in text  # DSC rebuilt, time published; and a published row
    assert table(results, "--scale", "demo") == 0
    assert main(["figure", "fig3b_speed_vs_dsc", "--results", str(results), "--scale", "demo"]) == 0
    text = (results / "fig3b_speed_vs_dsc.svg").read_text(encoding="utf-8")
    assert "UNETR ‡" in text and "nnU-Net" not in text and "demo scale" in text


def test_scores_that_no_row_is_made_from_are_named(results, tmp_path, capsys):
    """Most often a run id given to `benchmark score --run` that the table does not have."""
    path = write_scores(tmp_path / "scores.parquet", "swin_smt/totalseg/unet/seed0", np.ones((2, 7)))
    assert table(results, "--scores", str(path), "--out-dir", str(tmp_path / "out")) == 0
    assert "no row is made from the scored run 'swin_smt/totalseg/unet/seed0'" in capsys.readouterr().err
    assert table(results, "--out-dir", str(tmp_path / "out")) == 0
    assert "no row" not in capsys.readouterr().err


def chain_of(run: str, **changes) -> str:
    """What a score file says of itself where everything was made with the settings of today, but for `changes`."""
    config = load_catalog().run(run)
    train = lineage.trained(config, data={config.store.id: "data"}, begins_from={})
    predict = lineage.predicted(config, weights=lineage.digest_of(train), data="images")
    rules = convention_digests(config.convention)
    score = lineage.scored(predictions=lineage.digest_of(predict), references="references", conventions=rules)
    made = {"train": train, "predict": predict, "score": score}
    for place, value in changes.items():
        stage, key = place.split("__", 1)
        made[stage][key.replace("__", ".")] = value
    return json.dumps(made)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ""),
        ({"train__training__epochs": 40}, "training.epochs: 40, now 1000"),
        ({"train__model__options__more": 1}, "model.options.more: 1, now null"),
        ({"train__code__network__unetr": 0}, "code.network.unetr: 0, now 1"),
        ({"predict__inference__overlap": 0.25}, "inference.overlap: 0.25, now 0.5"),
        ({"score__convention__swin_smt": "another"}, "convention.swin_smt: another, now "),
        ({"score__code__score": 0}, "code.score: 0, now 1"),
        ({"predict__data": "other images"}, ""),  # inputs are compared by the workflow, which knows today's
    ],
)
def test_a_value_made_with_other_settings_is_not_shown(results, tmp_path, changes, named):
    run, path = RUNS["UNETR"], tmp_path / "scores.parquet"
    scores = pq.read_table(results / "runs" / run / "scores.parquet")
    pq.write_table(scores.replace_schema_metadata({"config_digest": "old", "chain": chain_of(run, **changes)}), path)
    assert table(results, "--scores", str(path), "--out-dir", str(tmp_path / "out")) == 0
    lines = csv.DictReader((tmp_path / "out/table1_totalseg.compare.csv").read_text(encoding="utf-8").splitlines())
    verdict = next(line["verdict"] for line in lines if (line["row"], line["column"]) == ("UNETR", "Overall"))
    assert ("made with other settings" in verdict) == bool(named) and named in verdict


def test_other_references_than_those_scored_are_noticed(results, tmp_path):
    run, path = RUNS["UNETR"], tmp_path / "scores.parquet"
    config, layout = load_catalog().run(run), Layout(str(results))
    write_json(layout.split("totalseg"), {"test": ["s0001"]})
    case = Path(layout.prepared_for(config)).parent / "cases/s0001.json"
    write_json(case, {"digests": {"reference": "corrected"}})
    scores = pq.read_table(results / "runs" / run / "scores.parquet")
    pq.write_table(scores.replace_schema_metadata({"chain": chain_of(run)}), path)
    assert table(results, "--scores", str(path), "--out-dir", str(tmp_path / "out")) == 0
    assert "made with other settings: references: " in (tmp_path / "out/table1_totalseg.csv").read_text("utf-8")


def test_scores_of_other_settings_are_named(results, tmp_path, capsys):
    run = RUNS["UNETR"]
    scores = pq.read_table(results / "runs" / run / "scores.parquet")
    for digest, said in ((load_catalog().run(run).digest, False), ("0123456789abcdef", True), ("", False)):
        path = tmp_path / "scores.parquet"
        pq.write_table(scores.replace_schema_metadata({"config_digest": digest}), path)
        assert table(results, "--scores", str(path), "--out-dir", str(tmp_path / "out")) == 0
        assert ("configuration 0123456789abcdef, now " in capsys.readouterr().err) == said


def test_a_figure_without_data_says_why(tmp_path):
    for target in ("fig3a_subgroups", "fig3b_speed_vs_dsc"):
        assert main(["figure", target, "--results", str(tmp_path), "--scale", "demo"]) == 0
        assert "not attempted" in (tmp_path / f"{target}.svg").read_text(encoding="utf-8")
        assert (tmp_path / f"{target}.png").stat().st_size and (tmp_path / f"{target}.pdf").stat().st_size


def test_subgroups_are_split_by_what_the_store_knows(results):
    config = load_catalog().run(RUNS["Swin SMT (ours)"], "paper")
    cases = results / "data/totalseg/prepared" / config.preparation_id / "cases"
    cases.mkdir(parents=True)
    for number in range(6):
        body = "entire" if number < 4 else "partial"
        meta = {"case": f"s{number:04d}", "attributes": {"body": body}}
        (cases / f"s{number:04d}.json").write_text(json.dumps(meta), encoding="utf-8")
    assert main(["figure", "fig3a_subgroups", "--results", str(results)]) == 0
    text = (results / "fig3a_subgroups.svg").read_text(encoding="utf-8")
    assert text.count(">n=4<") == 5 and text.count(">n=2<") == 5
    assert "entire" in text and "partial" in text


def test_files_of_another_form_are_refused(tmp_path):
    path = tmp_path / "latency.gpu.csv"
    path.write_text("run,seconds,machine\na/b/c/seed0,21.4,NVIDIA H200\nx/y/z/seed0,,\n", encoding="utf-8")
    assert read_latencies([path]) == {"a/b/c/seed0": (21.4, "NVIDIA H200")}
    with pytest.raises(InputError, match="lacks columns"):
        read_costs([path])
    with pytest.raises(InputError, match="is missing"):
        read_costs([tmp_path / "absent.csv"])
    path.write_text("run,seconds,machine\na,fast,GPU\n", encoding="utf-8")
    with pytest.raises(InputError, match="a number was expected"):
        read_latencies([path])


def test_controls_are_named_by_their_folder(tmp_path, monkeypatch):
    write_scores(tmp_path / "p/q/class_prior/scores.parquet", "control/class_prior", np.ones((1, 7)))
    controls = read_controls([tmp_path / "p/q/class_prior/scores.parquet"])
    assert list(controls) == ["control: class prior"] and list(controls["control: class prior"]) == ["p/q"]
    monkeypatch.chdir(tmp_path / "p/q/class_prior")
    with pytest.raises(InputError, match="not the scores of one control"):
        read_controls([Path("scores.parquet")])


def test_contradictions_are_read_for_the_table_they_concern(tmp_path):
    path = tmp_path / "contradictions.csv"
    assert read_contradictions(path, TABLE) == {}
    path.write_text(
        "target,row,column,finding\ntable1_totalseg,UNETR,Overall,below its groups\nother,a,b,c\n", encoding="utf-8"
    )
    assert read_contradictions(path, TABLE) == {("UNETR", "Overall"): "below its groups"}
    path.write_text("target,row,column,finding\ntable1_totalseg,UNETR,Overal,typo\n", encoding="utf-8")
    with pytest.raises(InputError, match="not published"):
        read_contradictions(path, TABLE)


def test_publishing_needs_neither_torch_nor_snakemake():
    code = (
        "import sys, benchmark.evidence.table, benchmark.evidence.figure;"
        "print([name for name in ('torch', 'monai', 'snakemake') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
