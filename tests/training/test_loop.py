"""The loop's hooks, in this process: what is logged, validated, frozen, clipped, refused and aborted."""

from __future__ import annotations

import csv
import math
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.tiny import CASES, TinyNetwork, TinySamples, make_loop, tiny_config

from benchmark.errors import InputError
from benchmark.training.feed import SampleError
from benchmark.training.journal import STEP_FIELDS, CsvLog
from benchmark.training.loop import Machine, TrainingDiverged
from benchmark.training.randomness import seed_everything
from benchmark.training.schedules import learning_rate


def _train(folder: Path, samples: TinySamples | None = None, *, training: dict | None = None, **options):
    config = tiny_config(training={"epochs": 3, **(training or {})})
    loop = make_loop(folder, config, samples or TinySamples(7), dropout=0, **options)
    assert loop.run()
    return loop


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _weights(loop) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in loop.network.module.parameters()])


def test_it_learns_and_tells(tmp_path, capsys):
    loop = _train(tmp_path, training={"epochs": 30, "clip_norm": None})
    rows = _rows(tmp_path / "log.csv")
    assert tuple(rows[0]) == STEP_FIELDS
    assert [int(row["step"]) for row in rows] == list(range(60))
    assert [int(row["epoch"]) for row in rows] == [step // 2 for step in range(60)]
    losses = [float(row["loss"]) for row in rows]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    settings = loop.training
    for row in rows:
        rate = learning_rate(int(row["step"]), settings.schedule, base=1e-2, steps_per_epoch=2, epochs=30)
        assert float(row["learning_rate"]) == rate
        assert 0 <= float(row["data_wait"]) <= 1
        assert float(row["samples_per_second"]) > 0
        assert float(row["peak_memory_mb"]) > 10
    assert [int(row["epoch"]) for row in _rows(tmp_path / "validation.csv")] == list(range(1, 30, 2))
    told = capsys.readouterr().err
    assert "rank  of 1 processes" in told
    assert "validation after epoch 29" in told


def test_it_is_the_update_written_out_by_hand(tmp_path):
    """Three steps of clipped AdamW on MONAI's loss with torch's own pieces."""
    from monai.losses import DiceCELoss

    training = {"epochs": 2, "schedule": {"name": "constant"}, "clip_norm": 0.1}
    loop = _train(tmp_path, training=training, machine=Machine(micro_batch=3))
    assert all(group["fused"] for group in loop.optimiser.param_groups)  # as on every CPU
    seed_everything(7)
    network, samples = TinyNetwork(), TinySamples(7)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-3)
    objective = DiceCELoss(softmax=True, to_onehot_y=True)
    for step in range(4):
        images, labels = zip(*(samples[index] for index in range(4 * step, 4 * step + 4)), strict=True)
        optimiser.zero_grad()
        objective(network(torch.stack(images)), torch.stack(labels)[:, None].long()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        optimiser.step()
    expected = torch.cat([value.detach().flatten() for value in network.parameters()])
    torch.testing.assert_close(_weights(loop), expected, rtol=1e-4, atol=1e-5)


def test_frozen_parameters_get_neither_update_nor_decay_until_their_epoch(tmp_path):
    seed_everything(7)
    initial = {name: value.detach().clone() for name, value in TinyNetwork().named_parameters()}
    pretrained = {"name": "conv", "initialisation": "released"}
    for epochs, moved in ((2, False), (3, True)):
        config = tiny_config(training={"epochs": epochs, "freeze_epochs": 2}, model=pretrained)
        loop = make_loop(tmp_path / str(epochs), config, TinySamples(7), dropout=0)
        loop.run()
        trained = dict(loop.network.module.named_parameters())
        assert torch.equal(trained["0.weight"], initial["0.weight"]) != moved
        assert not torch.equal(trained["3.weight"], initial["3.weight"])
    assert not torch.equal(  # from scratch there is no pre-trained part to freeze
        dict(_train(tmp_path / "scratch", training={"freeze_epochs": 3}).network.module.named_parameters())["0.weight"],
        initial["0.weight"],
    )


def test_nan_stops_with_step_run_and_advice_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(TrainingDiverged) as raised:
        _train(tmp_path, TinySamples(7, nan_at=22), training={"epochs": 9})
    message = str(raised.value)
    assert "tiny/phantom/conv/seed7 diverged at step 5" in message
    assert "a loss of nan" in message
    assert "checkpoints of steps [5]" in message
    assert len(_rows(tmp_path / "log.csv")) == 5
    loop = make_loop(tmp_path, tiny_config(training={"epochs": 9}), TinySamples(7), dropout=0)
    assert loop.run()  # with the cause gone, it continues
    assert [int(row["step"]) for row in _rows(tmp_path / "log.csv")] == list(range(18))


def test_an_exploding_loss_is_divergence(tmp_path):
    exploding = {"optimiser": {"name": "sgd", "learning_rate": 1e6}, "clip_norm": None, "epochs": 9}
    with pytest.raises(TrainingDiverged, match="diverged at step"):
        _train(tmp_path, training={**exploding, "schedule": {"name": "constant"}})


def test_broken_weights_never_replace_a_good_checkpoint(tmp_path):
    loop = make_loop(tmp_path, tiny_config(), TinySamples(7), dropout=0)
    loop.rate = 0.1
    loop.journal.start(0)
    loop._save(5)
    with torch.no_grad():
        next(loop.network.module.parameters())[0] = math.inf
    with pytest.raises(TrainingDiverged, match="weights that are not finite"):
        loop._save(10)
    assert loop.checkpoints.steps() == [5]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_of_a_sample_ends_the_training_with_its_cause(tmp_path, workers):
    with pytest.raises(SampleError, match="OSError: the disk shows its teeth"):
        _train(tmp_path, TinySamples(7, fails_at=9), machine=Machine(workers=workers))
    assert len(_rows(tmp_path / "log.csv")) == 2


def test_another_configuration_is_refused(tmp_path):
    _train(tmp_path)
    with pytest.raises(InputError, match="another configuration") as raised:
        _train(tmp_path, training={"clip_norm": 5.0})
    assert "training.clip_norm = 5.0" in str(raised.value)


def test_a_finished_training_has_nothing_left_to_do(tmp_path):
    first = _weights(_train(tmp_path))
    again = _train(tmp_path, TinySamples(7, fails_at=0))
    assert torch.equal(first, _weights(again))


def test_a_network_that_cannot_be_frozen_says_so(tmp_path, monkeypatch):
    monkeypatch.delattr(TinyNetwork, "pretrained_parameters")
    config = tiny_config(training={"freeze_epochs": 1}, model={"name": "conv", "initialisation": "released"})
    with pytest.raises(InputError, match="cannot be frozen"):
        make_loop(tmp_path, config, TinySamples(7))


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    with pytest.raises(InputError, match="cannot be shared by 3 processes") as raised:
        make_loop(tmp_path, tiny_config(), TinySamples(7))
    assert "[1, 2, 4]" in str(raised.value)


def test_tensorboard_on_request(tmp_path):
    _train(tmp_path, machine=Machine(tensorboard=True))
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_full_disk_ends_with_a_message_and_the_training_continues_later(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        filler = folder / "filler"
        # the first validation comes after the first checkpoint
        config = tiny_config(training={"validation_interval": 4})
        loop = make_loop(folder, config, TinySamples(7), dropout=0)
        loop.validate = lambda network, **_: filler.write_bytes(b"0" * 48_000)
        with pytest.raises(InputError, match="disk is full"):
            loop.run()
        assert loop.checkpoints.steps() == [5]
        filler.unlink()
        assert make_loop(folder, config, TinySamples(7), dropout=0).run()
        assert [int(row["step"]) for row in _rows(folder / "log.csv")] == list(range(24))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_log_is_cut_to_the_checkpoint_and_torn_rows_go(tmp_path):
    log = CsvLog(tmp_path / "log.csv", ("step", "loss"))
    log.truncate(0)
    for step in range(6):
        log.add({"step": step, "loss": step / 10})
    log.flush()
    with log.path.open("a") as stream:
        stream.write("6")  # killed while writing
    log.truncate(4)
    log.add({"step": 4, "loss": 1.0})
    log.flush()
    assert [row["step"] for row in _rows(log.path)] == ["0", "1", "2", "3", "4"]
    log.truncate(0)
    assert log.path.read_text() == "step,loss\n"


def test_steps_per_epoch_fill_the_last_batch():
    assert tiny_config().training.steps_per_epoch(CASES) == 2
