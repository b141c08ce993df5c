"""One global order of samples, whatever the number of processes, micro-batches and workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from helpers.tiny import CASES, TinySamples, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import InputError
from benchmark.training.feed import SampleError, Share, ShareSampler, _killed, make_share, micro_batches


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7), st.integers(0, 4), st.integers(1, 5))
def test_processes_share_each_step_without_overlap_or_gap(world, samples, micro_batch, start, steps):
    batch = world * samples
    seen = []
    for step in range(start, start + steps):
        for rank in range(world):
            parts = Share(batch, world, rank, micro_batch).micro_batches(step)
            assert all(0 < len(part) <= micro_batch for part in parts)
            seen += [index for part in parts for index in part]
    assert seen == list(range(start * batch, (start + steps) * batch))


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 9))
def test_continuing_reads_what_was_left(world, samples, start):
    share = Share(world * samples, world, rank=world - 1)
    whole = list(ShareSampler(share, start=0, stop=10))
    rest = ShareSampler(share, start=start, stop=10)
    assert list(rest) == whole[start:]
    assert len(rest) == len(whole[start:])


def test_an_epoch_visits_every_case_once():
    training = tiny_config(training={"batch": 4}).training
    steps = training.steps_per_epoch(CASES)
    indices = [i for step in range(3 * steps) for i in Share(training.batch).micro_batches(step)[0]]
    passes = [sorted(i % CASES for i in indices[n : n + CASES]) for n in range(0, len(indices) - CASES, CASES)]
    assert passes == [list(range(CASES))] * len(passes)


def test_a_forward_pass_holds_what_a_gpu_of_the_protocol_held():
    training = tiny_config(training={"batch": 8, "devices": 8}).training
    assert make_share(training, world=1, rank=0, micro_batch=None).micro_batch == 1
    assert make_share(training, world=2, rank=0, micro_batch=3).micro_batch == 3
    assert make_share(training, world=8, rank=0, micro_batch=64).micro_batch == 1


def test_batch_dice_is_not_accumulated():
    training = tiny_config(training={"batch": 8, "devices": 8, "loss": {"batch_dice": True}}).training
    assert make_share(training, world=2, rank=0, micro_batch=None).micro_batch == 4
    with pytest.raises(InputError, match="cannot be accumulated"):
        make_share(training, world=2, rank=0, micro_batch=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_kept_and_equal_for_any_number_of_workers(workers):
    samples = TinySamples(3)
    batches = list(micro_batches(samples, Share(4), start=1, stop=4, workers=workers, pin=False))
    for step, (images, labels) in enumerate(batches, start=1):
        expected = [samples[index] for index in range(4 * step, 4 * step + 4)]
        assert torch.equal(images, torch.stack([image for image, _ in expected]))
        assert torch.equal(labels, torch.stack([label for _, label in expected]))
    assert len(batches) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_error_of_a_worker_is_shown_with_its_place(workers):
    batches = micro_batches(TinySamples(3, fails_at=6), Share(4), start=0, stop=9, workers=workers, pin=False)
    next(batches)
    with pytest.raises(SampleError) as raised:
        next(batches)
    message = str(raised.value)
    assert "sample 6 cannot be made: OSError: the disk shows its teeth" in message
    assert "tiny.py" in message


def test_a_killed_worker_is_explained():
    batches = micro_batches(TinySamples(3, dies_at=2), Share(2), start=0, stop=9, workers=1, pin=False)
    with pytest.raises(SampleError, match="data worker was killed") as raised:
        list(batches)
    assert "memory" in str(raised.value)


def _limited(command: str, *, mount: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Read samples by one worker in a Python of its own, with other variables or file systems."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    words = [sys.executable, "-c", command]
    if mount:
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
            pytest.skip("file systems can be mounted by root only")
        words = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *words]
    return subprocess.run(words, env=environment, capture_output=True, text=True)


READ = """
from helpers.tiny import TinySamples
from benchmark.errors import InputError
from benchmark.training.feed import Share, micro_batches
try:
    print(len(list(micro_batches(TinySamples(3), Share(64), start=0, stop=2, workers=1, pin=False))), "batches")
except InputError as error:
    print(error)
"""


def test_a_small_shared_memory_is_named_and_not_the_memory():
    done = _limited(READ, mount="mount -t tmpfs -o size=64k tmpfs /dev/shm")
    assert done.returncode == 0, done.stderr
    assert "/dev/shm" in done.stdout and "of 0.1 MB free" in done.stdout and "--shm-size" in done.stdout
    assert "memory ran out" not in done.stdout and "Traceback" not in done.stdout


def test_torchs_other_words_for_it_are_known_too():
    bus = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that workers are out of it"
    assert "--shm-size" in str(_killed(RuntimeError(bus)))
    assert "memory ran out" in str(_killed(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")))
    assert "EOFError" in str(_killed(EOFError()))


def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path):
    """The data workers' sockets lie there: "AF_UNIX path too long"."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    done = _limited(READ, TMPDIR=str(folder))
    assert done.stdout == "2 batches\n", done.stderr
