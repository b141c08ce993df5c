"""Checkpoints that are whole or absent, and what happens when they are neither."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from helpers.tiny import TinyNetwork, tiny_config
from safetensors.torch import load_file

from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.lineage import training_settings
from benchmark.training import checkpoints as module
from benchmark.training.checkpoints import Checkpoints, write_weights
from benchmark.training.randomness import random_state, restore_random_state, seed_everything

IDENTITY = {"training.batch": 4, "seed": 7}


def _checkpoints(folder: Path, **identity) -> Checkpoints:
    return Checkpoints(folder, identity={**IDENTITY, **identity}, details={"run": "tiny"})


def _state(step: int) -> dict:
    return {"step": step, "weights": torch.full((100,), float(step))}


def _saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = _checkpoints(folder)
    for step in steps:
        checkpoints.save(_state(step), step=step)
    return checkpoints


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_nothing_saved_means_starting_from_the_beginning(tmp_path):
    assert _checkpoints(tmp_path / "absent").load() is None


def test_the_newest_is_loaded_and_the_last_two_are_kept(tmp_path):
    checkpoints = _saved(tmp_path, 5, 10, 15)
    assert checkpoints.steps() == [10, 15]
    names = {f"step-000000{n}.{kind}" for n in (10, 15) for kind in ("pt", "json")}
    assert {path.name for path in tmp_path.iterdir()} == names
    state = checkpoints.load()
    assert state["step"] == 15
    assert torch.equal(state["weights"], _state(15)["weights"])
    checkpoints.keep_newest()
    assert checkpoints.steps() == [15]


@pytest.mark.parametrize("kind", ["flipped bit", "cut short", "torn json", "absent tensors"])
def test_a_corrupt_newest_falls_back_to_the_one_before_and_says_so(tmp_path, capsys, kind):
    checkpoints = _saved(tmp_path, 5, 10)
    newest = tmp_path / "step-00000010.pt"
    if kind == "flipped bit":
        _damage(newest)
    elif kind == "cut short":
        newest.write_bytes(newest.read_bytes()[:-100])
    elif kind == "torn json":
        newest.with_suffix(".json").write_text('{"step": 10, "sha')
    else:
        newest.unlink()
    assert checkpoints.load()["step"] == 5
    assert "step-00000010" in (told := capsys.readouterr().err)
    assert "corrupt" in told


def test_all_corrupt_is_an_error_and_not_a_silent_restart(tmp_path):
    checkpoints = _saved(tmp_path, 5, 10)
    for path in tmp_path.glob("*.pt"):
        _damage(path)
    with pytest.raises(InputError, match="every checkpoint"):
        checkpoints.load()


def test_a_checkpoint_without_its_json_does_not_exist(tmp_path):
    checkpoints = _saved(tmp_path, 5, 10)
    (tmp_path / "step-00000010.json").unlink()  # killed before verification
    assert checkpoints.load()["step"] == 5
    checkpoints.save(_state(10), step=10)
    assert checkpoints.load()["step"] == 10


THEIRS = ("step-00000005-best.pt", "step-bestfold.pt", "step-bestfold.json", "best.pt", ".nfs000000000a1b2c3d00000001",
          "step-00000005.pt.bak", ".tmp-notes-step-by-step.txt", "step-00000005/", "old/")  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_what_a_user_or_a_file_system_keeps_beside_them_stays(tmp_path, name):
    checkpoints = _saved(tmp_path, 5)
    theirs = tmp_path / name
    if name.endswith("/"):
        theirs.mkdir()
        (theirs / "step-00000001.pt").write_bytes(b"mine")
    else:
        theirs.write_bytes(b"mine")
    checkpoints = _saved(tmp_path, 10, 15, 20)
    checkpoints.keep_newest()
    assert checkpoints.steps() == [20] and checkpoints.load()["step"] == 20
    assert theirs.exists() and all(path.read_bytes() == b"mine" for path in theirs.rglob("*"))
    assert {path.name for path in tmp_path.iterdir()} == {theirs.name, "step-00000020.pt", "step-00000020.json"}


def test_what_a_kill_left_of_a_checkpoint_goes(tmp_path):
    left = tmp_path / ".tmp-a1b2c3d4-step-00000005.pt"
    left.write_bytes(b"half")
    _saved(tmp_path, 10)
    assert not left.exists()


def test_a_training_under_several_versions_of_the_code_names_them_all_once(tmp_path):
    def at(version: str) -> Checkpoints:
        return Checkpoints(tmp_path, identity=IDENTITY, details={"code_version": version})

    at("0.1.0 aaaa").save(_state(5), step=5)
    at("0.1.0 aaaa").save(_state(10), step=10)
    at("0.1.0 bbbb+").save(_state(15), step=15)
    assert at("0.2.0 cccc").code_versions() == ["0.1.0 aaaa", "0.1.0 bbbb+", "0.2.0 cccc"]
    record = read_json(tmp_path / "step-00000015.json")
    assert record["code_versions"] == ["0.1.0 aaaa", "0.1.0 bbbb+"]
    del record["code_versions"]  # as code before this one wrote it
    write_json(tmp_path / "step-00000015.json", record)
    assert at("0.2.0 cccc").code_versions() == ["0.1.0 bbbb+", "0.2.0 cccc"]


def test_another_configuration_is_refused_and_the_keys_are_named(tmp_path):
    _saved(tmp_path, 5)
    with pytest.raises(InputError, match="another configuration") as raised:
        _checkpoints(tmp_path, **{"training.batch": 8, "split digest": "abc"}).load()
    message = str(raised.value)
    assert "training.batch = 8" in message
    assert "training.batch = 4" in message
    assert "split digest = abc" in message
    assert "seed" not in message


def test_identity_holds_what_decides_the_weights_and_nothing_else():
    base = training_settings(tiny_config())
    assert base["training.optimiser.learning_rate"] == 1e-2
    assert base == training_settings(tiny_config(training={"checkpoint_interval": 1}, convention="as_released"))
    assert base != training_settings(tiny_config(training={"clip_norm": 2.0}))
    assert base != training_settings(tiny_config(seed=8))


def test_what_is_read_back_is_compared_before_the_old_one_goes(tmp_path, monkeypatch):
    checkpoints = _saved(tmp_path, 5, 10)
    monkeypatch.setattr(module, "file_digest", lambda path: "0")
    with pytest.raises(InputError, match="read back differs"):
        checkpoints.save(_state(15), step=15)
    monkeypatch.undo()
    assert checkpoints.steps() == [5, 10]
    assert checkpoints.load()["step"] == 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_to_do(small_disk):
    checkpoints = _checkpoints(small_disk / "checkpoints")
    checkpoints.save({"step": 5, "weights": torch.zeros(150_000)}, step=5)  # 0.6 MB
    with pytest.raises(InputError, match="disk is full") as raised:
        checkpoints.save({"step": 10, "weights": torch.ones(150_000)}, step=10)
    assert "continues from step 5" in str(raised.value)
    assert checkpoints.load()["step"] == 5
    assert {path.suffix for path in (small_disk / "checkpoints").iterdir()} == {".pt", ".json"}
    assert len(list((small_disk / "checkpoints").iterdir())) == 2


def test_nothing_is_unpickled(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("executed",))

    checkpoints = _checkpoints(tmp_path)
    checkpoints.save({"step": 5, "weights": Harmful()}, step=5)
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load()


def test_random_state_survives_the_checkpoint(tmp_path):
    import random

    import numpy as np

    def draw():
        return random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()

    seed_everything(3)
    np.random.standard_normal()  # leaves half a pair cached in numpy's state
    checkpoints = _checkpoints(tmp_path)
    checkpoints.save({"random": random_state()}, step=1)
    expected = draw()
    seed_everything(99)
    assert draw() != expected
    restore_random_state(checkpoints.load()["random"])
    assert draw() == expected


def test_ranks_and_steps_get_streams_of_their_own():
    def first(**options):
        seed_everything(7, **options)
        return torch.rand(1).item()

    assert len({first(), first(rank=1), first(step=5), first(rank=1, step=5)}) == 4


def test_final_weights_hold_tied_tensors_under_both_names(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    network[1].weight = network[0].weight
    write_weights(tmp_path / "final.safetensors", network)
    assert set(load_file(tmp_path / "final.safetensors")) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    write_weights(tmp_path / "final.safetensors", TinyNetwork())
    TinyNetwork().load_state_dict(load_file(tmp_path / "final.safetensors"))
