"""Exported runs label images as `retable predict` does, in a process that has no Retable; results go out as built."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
import torch

from benchmark import lineage
from benchmark.catalog import load_catalog
from benchmark.cli import main
from benchmark.data.source import load_source
from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from benchmark.errors import EXIT_INPUT, InputError
from benchmark.evidence.csv_files import COMPARE_COLUMNS
from benchmark.exchange.carry import renamed
from benchmark.exchange.portable import cases_in
from benchmark.files import file_digest, read_json, write_json
from benchmark.layout import Layout
from benchmark.models.registry import build_for_run
from benchmark.training.checkpoints import write_weights

BUNDLE = "from monai.bundle import run; run(config_file='configs/inference.json')"
VOLUMES = "swin_smt/totalseg/nnunet/seed0"  # windows of a volume on a linear grid, labels go back
SLICES = "swin_umamba/abdomen_mri-nnunet/nnunet/seed0"  # slices on nnU-Net's planned grid, scores go back
WHOLE = "moe_sam/acdc-task/nnunet/seed0"  # whole resized slices


def stages(run: str, *, subjects: int) -> Layout:
    """A phantom prepared and predicted by the real stages, with weights as they are drawn, in the working directory."""
    catalog, layout = load_catalog(), Layout.at("demo")
    config = catalog.run(run, "demo")
    source, split = layout.source(config.dataset), layout.split(config.dataset)
    words = [run, "--scale", "demo", "--split", split, "--source", source]
    assert main(["fetch", config.dataset, "--phantom", str(subjects), "--out", source]) == 0
    assert main(["split", config.dataset, "--source", source, "--out", split]) == 0
    assert main(["prepare", *words, "--out", layout.prepared_for(config), "--processes", "1"]) == 0
    store, trained = PreparedStore(Path(layout.prepared_for(config)).parent), Path(layout.trained(run))
    torch.manual_seed(0)
    network = build_for_run(config, in_channels=len(store.channels), out_channels=len(store.label_names) + 1)
    for parameter in network.parameters():
        if parameter.ndim > 1:  # biases as they are, near zero: none hides the other classes
            torch.nn.init.normal_(parameter, std=0.1)
    trained.parent.mkdir(parents=True)
    weights = trained.with_name("final.safetensors")
    write_weights(weights, network)
    made = lineage.trained(config, data={config.store.id: store.digest}, begins_from={})
    write_json(trained, {"run": run, "weights": weights.name, "sha256": file_digest(weights), "made": made})
    files = ["--store", layout.prepared_for(config), "--weights", str(trained), "--device", "cpu"]
    assert main(["predict", *words, *files, "--out", layout.predicted(run)]) == 0
    return layout


def give_images(layout: Layout, run: str, folder: Path) -> list[str]:
    """Copies of the first two predicted cases' images, under their names."""
    dataset = load_catalog().run(run, "demo").dataset
    cases = get_dataset(dataset).find_cases(Path(load_source(Path(layout.source(dataset)), dataset)["root"]))
    wanted = sorted(read_json(layout.predicted(run))["cases"])[:2]
    folder.mkdir()
    for case in cases:
        if case.id in wanted:
            (image,) = case.images
            shutil.copy(image, folder / f"{case.id}.nii.gz")
    return wanted


def alone(folder: Path, *words: str) -> None:
    """Python in the folder of the export, which sees neither this repository nor an installed Retable."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "RETABLE"))}
    blocked = "import sys; sys.modules['benchmark'] = None; "
    code = blocked + (words[0] if len(words) == 1 else f"sys.argv = {list(words)!r}; exec(open({words[0]!r}).read())")
    code = code.replace("exec(", "__file__ = sys.argv[0]; exec(")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same_labels(found: Path, expected: Path, cases: list[str]) -> None:
    classes = set()
    assert sorted(path.name for path in found.iterdir()) == sorted(f"{case}.nii.gz" for case in cases)
    for case in cases:
        one, other = (nibabel.load(folder / f"{case}.nii.gz") for folder in (found, expected))
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
        np.testing.assert_array_equal(one.affine, other.affine)
        classes |= set(np.unique(np.asarray(one.dataobj)).tolist())
    assert len(classes) > 2


@pytest.mark.parametrize(
    ("run", "subjects", "origin"),
    [(VOLUMES, 14, "paper: "), (SLICES, 6, "code: nnU-Net v2 trainer"), (WHOLE, 10, "paper: ")],
)
def test_a_bundle_and_its_script_label_as_predict_does(run, subjects, origin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = stages(run, subjects=subjects)
    assert main(["export", run, "out", "--to", "monai-bundle", "--scale", "demo"]) == 0
    out = tmp_path / "out"
    cases = give_images(layout, run, out / "images")
    alone(out, BUNDLE)
    alone(out, "predict.py", "images", "by_script")
    for folder in ("predictions", "by_script"):
        assert_same_labels(out / folder, Path(layout.predictions_of(run)), cases)
    metadata = json.loads((out / "configs/metadata.json").read_text())
    assert {"version", "monai_version", "pytorch_version", "task", "network_data_format"} <= set(metadata)
    config = load_catalog().run(run, "demo")
    card = (out / "README.md").read_text()
    assert "Demo scale" in card and config.digest in card and "licence" in card and origin in card
    assert main(["export", run, "out", "--to", "monai-bundle", "--scale", "demo"]) == EXIT_INPUT  # it exists


def test_nnunets_own_class_takes_the_weights(tmp_path, monkeypatch):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    monkeypatch.chdir(tmp_path)
    layout = stages(SLICES, subjects=6)
    assert main(["export", SLICES, "out", "--to", "nnunet", "--scale", "demo"]) == 0
    out = tmp_path / "out"
    cases = give_images(layout, SLICES, out / "images")
    alone(out, "predict.py", "images", "labels")
    assert_same_labels(out / "labels", Path(layout.predictions_of(SLICES)), cases)
    plans, dataset = (json.loads((out / name).read_text()) for name in ("plans.json", "dataset.json"))
    wanted = plans["configurations"]["2d"]["architecture"]
    network = get_network_from_plans(
        wanted["network_class_name"],
        wanted["arch_kwargs"],
        wanted["_kw_requires_import"],
        len(dataset["channel_names"]),
        len(dataset["labels"]),
        deep_supervision=False,
    )
    state = torch.load(out / "fold_0/checkpoint_final.pth", weights_only=True)["network_weights"]
    network.load_state_dict(state, strict=True)
    image = torch.rand(1, len(dataset["channel_names"]), *plans["configurations"]["2d"]["patch_size"])
    program = torch.export.load(out / "fold_0/model.pt2").module()
    torch.testing.assert_close(network.eval()(image), program(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["moe_sam/acdc-prompt/sam/seed0", "out", "--to", "nnunet"], "told a point"),
        (["m4oe/flare22-liu/liu/seed0", "out", "--to", "monai-bundle"], "it has two stages"),
        (["m4oe/flare22-med3d/med3d/seed0", "out", "--to", "monai-bundle"], "it enlarges probabilities"),
        ([VOLUMES, "out", "--to", "csv"], "a run cannot be exported to csv"),
        (["results", "out", "--to", "nnunet"], "results cannot be exported to nnunet"),
        (["results", "out.csv", "--to", "csv"], "nothing is rebuilt here"),
        ([VOLUMES, "out", "--to", "nnunet"], "not prepared here"),
        (["swin_smt/totalseg/nnunett/seed0", "out", "--to", "nnunet"], "did you mean 'nnunet'"),
    ],
)
def test_what_cannot_be_exported_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words, "--scale", "demo"]) == EXIT_INPUT
    assert message in capsys.readouterr().err and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "channels", "cases"),
    [
        (["amos_0507", "amos_0508"], 1, {"amos_0507": 1, "amos_0508": 1}),
        (["a_0000", "b"], 1, {"a": 1, "b": 1}),
        (["a_0000", "a_0001", "b", "c_0002"], 2, {"a": 2, "b": 1, "c_0002": 1}),
    ],
)
def test_cases_of_a_folder(names, channels, cases, tmp_path):
    for name in names:
        (tmp_path / f"{name}.nii.gz").touch()
    assert {one["case"]: len(one["image"]) for one in cases_in(tmp_path, channels)} == cases


def test_a_folder_without_cases_or_with_parts_of_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="no image"):
        cases_in(tmp_path, 3)
    for channel in range(2):
        (tmp_path / f"a_000{channel}.nii.gz").touch()
    with pytest.raises(InputError, match="some of its channels"):
        cases_in(tmp_path, 3)


RUN = {"row": "nnU-Net", "runs": VOLUMES}
CELLS = (
    {"column": "Overall", "published": "83.44", "rebuilt": "34.0669", "n": "4", "seeds": "1", "interval_lower": "30.1",
     "interval_upper": "38.2", "interval_over": "cases", "verdict": "not comparable (demo scale)",
     "config_digest": "0123abcd", "convention": "swin_smt"},
    {"column": "Params (M)", "published": "370.74", "rebuilt": "31.2890", "reading": "see the ledger"},
    {"column": "Time (s)", "published": "300", "verdict": "not attempted (no GPU)"},
)  # fmt: skip
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
SCHEMA = {  # what eval.schema.json 0.2.1 of Every Eval Ever asks of the keys that we write
    "type": "object",
    "additionalProperties": False,
    "required": ["schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info",
                 "eval_library", "evaluation_results"],
    "properties": {
        "schema_version": {"const": "0.2.1"},
        "evaluation_id": TEXT,
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": {
            "required": ["source_type", "source_organization_name", "evaluator_relationship"],
            "properties": {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
        },
        "eval_library": {"required": ["name", "version"], "properties": {"name": TEXT, "version": TEXT}},
        "model_info": {"required": ["name", "id"], "properties": {"name": TEXT, "id": TEXT, "developer": TEXT}},
        "evaluation_results": {
            "type": "array",
            "items": {
                "required": ["evaluation_name", "source_data", "metric_config", "score_details"],
                "properties": {
                    "evaluation_name": TEXT,
                    "source_data": {
                        "required": ["dataset_name", "source_type", "url"],
                        "properties": {"source_type": {"const": "url"}, "url": {"type": "array", "minItems": 1}},
                    },
                    "metric_config": {
                        "required": ["lower_is_better", "score_type", "min_score", "max_score"],
                        "properties": {"lower_is_better": {"type": "boolean"}, "score_type": {"const": "continuous"},
                                       "min_score": {"type": "number"}, "max_score": {"type": "number"}},
                    },
                    "score_details": {
                        "required": ["score"],
                        "properties": {
                            "score": {"type": "number"},
                            "details": TEXTS,
                            "uncertainty": {
                                "properties": {
                                    "num_samples": {"type": "integer"},
                                    "confidence_interval": {"required": ["lower", "upper"]},
                                }
                            },
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip


@pytest.fixture
def rebuilt(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/demo").mkdir(parents=True)
    with (tmp_path / "results/demo/table1_totalseg.compare.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COMPARE_COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(RUN | cell for cell in CELLS)
    return tmp_path


def test_results_as_a_table(rebuilt):
    assert main(["export", "results", "all.csv", "--to", "csv", "--scale", "demo"]) == 0
    with (rebuilt / "all.csv").open(newline="") as stream:
        score, count = csv.DictReader(stream)
    assert (score["target"], score["row"], score["column"]) == ("table1_totalseg", "nnU-Net", "Overall")
    assert (score["published"], score["rebuilt"], score["verdict"]) == (
        "83.44",
        "34.0669",
        "not comparable (demo scale)",
    )
    assert (score["scale"], score["settings"], score["dataset"]) == ("demo", "0123abcd", "totalseg")
    assert (count["measure"], count["unit"], count["reading"]) == ("parameters", "M", "see the ledger")


def test_results_as_every_eval_ever_records(rebuilt):
    assert main(["export", "results", "records", "--to", "every-eval-ever", "--scale", "demo"]) == 0
    (path,) = (rebuilt / "records").rglob("*.json")
    assert path.relative_to(rebuilt / "records").parts[:4] == ("data", "table1_totalseg", "swin_smt", "nnunet")
    record = json.loads(path.read_text())
    jsonschema.validate(record, SCHEMA)
    (evaluation,) = record["evaluation_results"]  # parameters are no score
    assert evaluation["score_details"]["score"] == 34.0669 and evaluation["metric_config"]["max_score"] == 100
    interval = evaluation["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"], interval["confidence_level"]) == (30.1, 38.2, 0.9)
    details = evaluation["score_details"]["details"]
    assert (details["published"], details["scale"], details["settings"]) == ("83.44", "demo", "0123abcd")


def test_the_carried_source_names_itself():
    text = 'from benchmark.data import x\nimport benchmark\nf"benchmark.datasets.{name}"\n# benchmark/models\n'
    assert renamed(text) == (
        "from retable_runtime.data import x\nimport retable_runtime\n"
        'f"retable_runtime.datasets.{name}"\n# benchmark/models\n'
    )
