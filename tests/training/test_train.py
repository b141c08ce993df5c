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

from benchmark.data.store import PreparedStore
from benchmark.errors import EXIT_CONTINUE, InputError
from benchmark.files import read_json, write_json
from benchmark.models.registry import build_for_run
from benchmark.settings import RunConfig
from benchmark.training import train
from benchmark.training.signals import STOP_SIGNALS

SHAPE = (20, 18, 16)


@pytest.fixture(autouse=True)
def handlers_restored():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
    words = ["tiny/phantom/unetr/seed0", "--scale", "demo", "--store", str(tmp_path / "prepared/prepared.json")]
    words += ["--split", str(tmp_path / "split.json"), "--out", str(tmp_path / "run/trained.json"), "--workers", "0"]
    _configure(monkeypatch, _config())
    return parser.parse_args(words)


def _configure(monkeypatch, config: RunConfig) -> None:
    monkeypatch.setattr(train, "run_config", lambda arguments: config)


def test_trains_and_writes_what_predict_reads(arguments, tmp_path):
    assert train.main(arguments) is None
    record, config = read_json(arguments.out), _config()
    assert record["run"] == config.run
    assert record["digest"] == config.digest
    assert record["steps"] == 4  # 2 epochs of 3 cases by 2, the last batch filled up
    assert record["code_version"].startswith("0.")
    network = build_for_run(config, in_channels=1, out_channels=3)
    network.load_state_dict(load_file(tmp_path / "run" / record["weights"]))
    with (tmp_path / "run/validation.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    assert [path.name for path in (tmp_path / "run/checkpoints").glob("*.pt")] == ["step-00000004.pt"]
    assert not (tmp_path / "run/run.lock").exists()


def test_a_signal_gives_exit_code_75_and_the_same_command_continues(arguments, tmp_path, monkeypatch, capsys):
    validate = train.Validator.__call__

    def interrupted(self, *positional, **keywords):
        os.kill(os.getpid(), signal.SIGUSR2)
        return validate(self, *positional, **keywords)

    monkeypatch.setattr(train.Validator, "__call__", interrupted)
    assert train.main(arguments) == EXIT_CONTINUE
    assert not arguments.out.exists()
    assert "stopped after SIGUSR2" in capsys.readouterr().err
    monkeypatch.setattr(train.Validator, "__call__", validate)
    assert train.main(arguments) is None
    stopped = load_file(tmp_path / "run/final.safetensors")
    arguments.out = tmp_path / "undisturbed/trained.json"
    train.main(arguments)
    undisturbed = load_file(tmp_path / "undisturbed/final.safetensors")
    assert all(torch.equal(stopped[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.parametrize("change", ["setting", "split", "data"])
def test_a_checkpoint_of_other_settings_split_or_data_is_refused(arguments, tmp_path, monkeypatch, change):
    train.main(arguments)
    if change == "setting":
        _configure(monkeypatch, _config(clip_norm=1.0))
    elif change == "split":
        write_json(arguments.split, {**read_json(arguments.split), "digest": "another"})
    else:
        write_json(arguments.store, {**read_json(arguments.store), "digest": "another"})
    with pytest.raises(InputError, match="another configuration") as raised:
        train.main(arguments)
    named = {"setting": "training.clip_norm", "split": "split digest", "data": "prepared data digest"}[change]
    assert named in str(raised.value)
    assert (tmp_path / "run/final.safetensors").exists()


def test_no_training_case_is_an_error(arguments):
    write_json(arguments.split, {"train": [], "val": [], "test": [], "digest": "split"})
    with pytest.raises(InputError, match="0 training cases"):
        train.main(arguments)


def test_unknown_weights_are_an_error_that_names_the_known(arguments, monkeypatch):
    config = _config()
    model = config.model.model_copy(update={"initialisation": "no-such-weights"})
    _configure(monkeypatch, config.model_copy(update={"model": model}))
    with pytest.raises(InputError, match="unknown weights 'no-such-weights'"):
        train.main(arguments)
