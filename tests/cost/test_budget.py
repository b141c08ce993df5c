"""Estimates: hand-computed, without torch."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from benchmark.catalog.catalog import load_catalog
from benchmark.cost.budget import (
    Counted,
    assumed_samples_per_second,
    assumptions,
    counted_networks,
    dataset_budget,
    rate_of,
    rate_words,
    run_budget,
)
from benchmark.datasets import get_dataset
from benchmark.errors import InputError

CONFIG = load_catalog().run("swin_smt/totalseg/swin_smt-n32/seed0", "paper")


def test_hours_and_disk_by_hand():
    counted = Counted(parameters=10**6, flops_complete=10**12)
    budget = run_budget(CONFIG, counted, training_samples=1082, predicted_cases=89)
    rate = assumptions().sustained_tflops[CONFIG.training.precision]
    assert budget.steps == 1000 * 136  # 1082 cases in batches of 8
    assert budget.training_hours == pytest.approx(3 * 136_000 * 8 / rate / 3600)
    assert budget.prediction_hours == pytest.approx(89 * 96 / rate / 3600)
    assert budget.gpu_hours == budget.training_hours + budget.prediction_hours
    assert budget.disk_bytes == 4 * 10**6 * (1 + 3 * 2)


def test_the_sustained_rate_gives_the_papers_minute():
    """The assumption in budget.yaml is Swin SMT's own 60 s per scan."""
    config = CONFIG.model_copy(update={"inference": CONFIG.inference.model_copy(update={"precision": "32-true"})})
    budget = run_budget(config, Counted(170_783_560, 2_863_864_538_634), training_samples=1, predicted_cases=1)
    assert budget.prediction_hours * 3600 == pytest.approx(60, abs=1)


def test_mirroring_takes_eight_times_as_long():
    mirrored = CONFIG.model_copy(update={"inference": CONFIG.inference.model_copy(update={"mirror": True})})
    once, often = (
        run_budget(config, Counted(1, 10**12), training_samples=8, predicted_cases=9) for config in (CONFIG, mirrored)
    )
    assert often.prediction_hours == pytest.approx(8 * once.prediction_hours)
    assert often.training_hours == once.training_hours


def test_a_network_not_counted_has_steps_only():
    budget = run_budget(CONFIG, None, training_samples=16, predicted_cases=1)
    assert (budget.steps, budget.gpu_hours, budget.disk_bytes) == (2000, None, None)


def test_a_card_twice_as_fast_takes_half_as_long():
    counted = Counted(10**6, 10**12)
    slow, fast = (
        run_budget(CONFIG, counted, training_samples=8, predicted_cases=9, speed=speed) for speed in (1.0, 2.0)
    )
    assert (slow.steps, slow.disk_bytes) == (fast.steps, fast.disk_bytes)
    assert slow.training_hours == 2 * fast.training_hours and slow.prediction_hours == 2 * fast.prediction_hours


def test_the_assumed_card_trains_as_many_samples_a_second_as_its_rate_gives():
    assumed = assumptions().sustained_tflops[CONFIG.training.precision]
    assert assumed_samples_per_second(CONFIG, Counted(1, 10**12)) == pytest.approx(assumed / 3)


def rate(*words: str):
    return rate_of(argparse.Namespace(rate=list(words) or None))


def test_rates_of_a_command_line():
    assert rate() == 1 and rate("2.5") == 2.5
    assert rate("a/b/c/seed0=3", "d/e/f/seed0=4") == {"a/b/c/seed0": 3.0, "d/e/f/seed0": 4.0}
    for given in (1.0, 2.5, {"a/b/c/seed0": 3.0}):  # what the workflow passes on is read as it was
        assert rate(*rate_words(given).split()) == given


@pytest.mark.parametrize("words", [["fast"], ["0"], ["-1"], ["inf"], ["1", "2"], ["a=1", "a=2"], ["a=1", "2"], ["a="]])
def test_wrong_rates_are_refused(words):
    with pytest.raises(InputError, match="not the rate of a GPU"):
        rate(*words)


def test_dataset_disk():
    dataset = get_dataset("totalseg")
    budget = dataset_budget(dataset)
    assert budget.download_bytes == sum(archive.bytes for archive in dataset.archives)
    assert budget.prepared_bytes > budget.download_bytes


def test_counted_networks(tmp_path):
    assert counted_networks(tmp_path) == {}
    path = tmp_path / "measured" / "flops.csv"
    path.parent.mkdir()
    path.write_text("run,parameters,flops_complete\na,5,70\nb,,\n")
    assert counted_networks(tmp_path) == {"a": Counted(5, 70)}
    path.write_text("run,parameters,flops_complete\na,five,70\n")
    with pytest.raises(InputError, match="damaged"):
        counted_networks(tmp_path)


def test_no_torch():
    code = "import sys, benchmark.cost.budget; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
