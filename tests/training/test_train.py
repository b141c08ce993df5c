"""The command `train`, in this process, on a store in a temporary folder."""

from __future__ import annotations

import argparse
import csv
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmark import lineage
from benchmark.data.store import PreparedStore, write_case
from benchmark.errors import EXIT_CONTINUE, InputError
from benchmark.files import read_json, write_json
from benchmark.models.registry import build_for_run
from benchmark.settings import Inference, RunConfig
from benchmark.training import train
from benchmark.training.validation import Validator

SHAPE = (20, 18, 16)


def _config(**training) -> RunConfig:
    settings = {
        "patch": (16, 16, 16),
        "batch": 2,
        "epochs": 2,
        "optimiser": {"name": "adamw", "learning_rate": 1e-3},
        "schedule": {"name": "constant"},
        "validation_interval": 1,
        "checkpoint_interval": 1,
        **training,
    }
    return RunConfig(
        run="tiny/phantom/unetr/seed0",
        scale="demo",
        dataset="phantom",
        model={"name": "unetr"},
        preparation={},
        training=settings,
        inference={},
        convention="canonical",
        seed=0,
    )


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Command-line arguments of a run with three training cases and one validation case."""
    generator = np.random.default_rng(0)
    cases = {}
    for case in ("a", "b", "c", "d"):
        labels = (np.indices(SHAPE).sum(axis=0) // 12 % 3).astype(np.uint8)
        cases[case] = (labels[None] / 2 + generator.normal(0, 0.1, (1, *SHAPE)), labels, {})
    PreparedStore.create(tmp_path / "prepared", cases, label_names=["one", "two"])
    write_json(tmp_path / "split.json", {"train": ["a", "b", "c"], "val": ["d"], "test": [], "digest": "split"})
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = ["tiny/phantom/unetr/seed0", "--scale", "demo", "--stores", str(tmp_path / "prepared/prepared.json")]
    words += ["--splits", str(tmp_path / "split.json"), "--out", str(tmp_path / "run/trained.json"), "--workers", "0"]
    _configure(monkeypatch, _config())
    return parser.parse_args(words)


def _configure(monkeypatch, config: RunConfig) -> None:
    monkeypatch.setattr(train, "run_config", lambda arguments: config)


def test_trains_and_writes_what_predict_reads(arguments, tmp_path):
    assert train.main(arguments) is None
    record, config = read_json(arguments.out), _config()
    assert record["run"] == config.run
    store = PreparedStore(tmp_path / "prepared")
    data = {config.store.id: store.digest_of(["a", "b", "c"], "case")}
    assert record["made"] == lineage.trained(config, data=data, begins_from={})
    assert record["code_versions"] == [record["code_version"]]
    assert record["steps"] == 4  # 2 epochs of 3 cases by 2, the last batch filled up
    assert record["code_version"].startswith("0.")
    network = build_for_run(config, in_channels=1, out_channels=3)
    network.load_state_dict(load_file(tmp_path / "run" / record["weights"]))
    with (tmp_path / "run/validation.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    assert [path.name for path in (tmp_path / "run/checkpoints").glob("*.pt")] == ["step-00000004.pt"]
    assert not (tmp_path / "run/run.lock").exists()


def test_a_signal_gives_exit_code_75_and_the_same_command_continues(arguments, tmp_path, monkeypatch, capsys):
    validate = Validator.__call__

    def interrupted(self, *positional, **keywords):
        os.kill(os.getpid(), signal.SIGUSR2)
        return validate(self, *positional, **keywords)

    monkeypatch.setattr(Validator, "__call__", interrupted)
    assert train.main(arguments) == EXIT_CONTINUE
    assert not arguments.out.exists()
    assert "stopped after SIGUSR2" in capsys.readouterr().err
    monkeypatch.setattr(Validator, "__call__", validate)
    assert train.main(arguments) is None
    stopped = load_file(tmp_path / "run/final.safetensors")
    arguments.out = tmp_path / "undisturbed/trained.json"
    train.main(arguments)
    undisturbed = load_file(tmp_path / "undisturbed/final.safetensors")
    assert all(torch.equal(stopped[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.parametrize(("content", "problem"), [(None, "there is no split.json"), ('{"train": 3', "damaged")])
def test_a_split_that_cannot_be_read_is_named(arguments, content, problem):
    arguments.splits[0].unlink()
    if content:
        arguments.splits[0].write_text(content)
    with pytest.raises(InputError, match=problem) as raised:
        train.main(arguments)
    assert str(arguments.splits[0]) in str(raised.value) and "retable split" in str(raised.value)


def _replace(arguments, case: str) -> None:
    """Another image for a case of the store, as a corrected scan gives."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9] = 1
    write_case(arguments.stores[0].parent, case, np.full((1, *SHAPE), 0.5), labels, {})


@pytest.mark.parametrize("change", ["setting", "training case", "fewer cases"])
def test_with_other_settings_or_data_an_earlier_training_is_set_aside(arguments, tmp_path, monkeypatch, capsys, change):
    train.main(arguments)
    before = load_file(tmp_path / "run/final.safetensors")
    if change == "setting":
        _configure(monkeypatch, _config(epochs=3))
    elif change == "training case":
        _replace(arguments, "a")
    else:
        write_json(arguments.splits[0], {**read_json(arguments.splits[0]), "train": ["a", "b"]})
    assert train.main(arguments) is None
    (earlier,) = (tmp_path / "run/earlier").iterdir()
    kept = load_file(earlier / "final.safetensors")
    assert all(torch.equal(kept[name], before[name]) for name in before)
    assert (earlier / "trained.json").is_file() and list((earlier / "checkpoints").glob("*.pt"))
    after = load_file(tmp_path / "run/final.safetensors")
    assert not all(torch.equal(after[name], before[name]) for name in before)
    named = {"setting": "training.epochs: 2, now 3", "training case": "data.", "fewer cases": "data."}[change]
    assert named in capsys.readouterr().err
    arguments.out = tmp_path / "undisturbed/trained.json"
    train.main(arguments)
    undisturbed = load_file(tmp_path / "undisturbed/final.safetensors")
    assert all(torch.equal(after[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.parametrize("change", ["nothing", "test case", "validation case", "inference"])
def test_what_decides_no_weight_leaves_a_finished_training_alone(arguments, tmp_path, monkeypatch, change):
    train.main(arguments)
    written = (tmp_path / "run/checkpoints/step-00000004.pt").stat().st_mtime_ns
    arguments.out.unlink()  # as Snakemake does before a job
    if change == "test case":
        write_json(arguments.splits[0], {**read_json(arguments.splits[0]), "test": ["e"]})
    elif change == "validation case":
        _replace(arguments, "d")
    elif change == "inference":
        _configure(monkeypatch, _config().model_copy(update={"inference": Inference(overlap=0.25)}))
    assert train.main(arguments) is None
    assert arguments.out.is_file() and not (tmp_path / "run/earlier").exists()
    assert (tmp_path / "run/checkpoints/step-00000004.pt").stat().st_mtime_ns == written


def test_asked_for_it_is_made_anew(arguments, tmp_path):
    train.main(arguments)
    (tmp_path / "run/.anew-trained.json").touch()
    train.main(arguments)
    assert (tmp_path / "run/earlier").is_dir() and not (tmp_path / "run/.anew-trained.json").exists()


def test_data_that_change_under_a_training_end_it_before_anything_is_kept(arguments, tmp_path, monkeypatch):
    validate = Validator.__call__

    def change(self, *positional, **keywords):
        _replace(arguments, "a")
        write_json(arguments.stores[0], {**read_json(arguments.stores[0]), "digest": "prepared anew"})
        return validate(self, *positional, **keywords)

    monkeypatch.setattr(Validator, "__call__", change)  # after the second step
    with pytest.raises(InputError, match="the training data changed under the training"):
        train.main(arguments)
    assert [path.stem for path in (tmp_path / "run/checkpoints").glob("*.pt")] == ["step-00000001"]
    monkeypatch.setattr(Validator, "__call__", validate)
    assert train.main(arguments) is None
    assert len(list((tmp_path / "run/earlier").iterdir())) == 1


def test_no_training_case_is_an_error(arguments):
    write_json(arguments.splits[0], {"train": [], "val": [], "test": [], "digest": "split"})
    with pytest.raises(InputError, match="0 training cases"):
        train.main(arguments)


def test_another_number_of_inputs_than_the_recipe_has_is_an_error(arguments, monkeypatch):
    config = _config()
    model = config.model.model_copy(update={"initialisation": "vmamba_tiny_imagenet"})
    _configure(monkeypatch, config.model_copy(update={"model": model}))
    with pytest.raises(InputError, match="reads another number of files") as raised:
        train.main(arguments)
    assert raised.value.where == "--beginnings"
