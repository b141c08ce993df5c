"""Defaults that decide a result are tagged too: nothing that moves a score comes from nowhere."""

from __future__ import annotations

import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.papers import Protocol
from benchmark.settings import RELEASED

CATALOG = load_catalog()
DECISIVE = {
    "preparation": ("spacing", "orientation", "clip", "normalise"),
    "training.loss": ("include_background", "batch_dice", "squared_denominator", "smooth_numerator",
                      "smooth_denominator", "deep_supervision"),
    "training.optimiser": ("weight_decay", "betas", "epsilon", "momentum"),
    "training.sampling": ("strategy", "foreground_fraction", "slices"),
    "training": ("augmentation", "precision", "clip_norm"),
    "inference": ("overlap", "weighting", "sigma_scale", "window_batch", "mirror", "precision"),
}  # fmt: skip
DICE = ("include_background", "batch_dice", "squared_denominator", "smooth_numerator", "smooth_denominator")


def acts(key: str, protocol: Protocol) -> bool:
    """Whether a setting has any effect under the others."""
    training, inference = protocol.training, protocol.inference
    windows, whole = inference.method in ("sliding_window", "slices"), training.sampling.strategy == "whole"
    sgd, masked = training.optimiser.name == "sgd", training.objective == "masked_images"
    if protocol.trained_by == RELEASED and key.startswith("training"):
        return False  # nothing is trained
    if training.objective == "prompted" and key.startswith("training.loss"):
        return False  # the objective has a loss of its own
    return {
        "training.optimiser.betas": not sgd,
        "training.optimiser.epsilon": not sgd,
        "training.optimiser.momentum": sgd,
        "training.sampling.foreground_fraction": not whole,
        "training.sampling.slices": whole and len(training.patch) == 2,
        "inference.overlap": windows,
        "inference.weighting": windows,
        "inference.sigma_scale": windows and inference.weighting == "gaussian",
        **{f"training.loss.{name}": training.loss.dice > 0 for name in DICE},
        "preparation.clip": protocol.preparation.normalise == "unit",
    }.get(key, True) and not (masked and key.startswith(("inference", "training.loss")))


@pytest.mark.parametrize("paper", sorted(CATALOG.papers))
def test_every_setting_that_acts_says_where_it_comes_from(paper: str) -> None:
    keys = [f"{place}.{name}" for place, names in DECISIVE.items() for name in names]
    untagged = {
        name: missing
        for name, protocol in CATALOG.papers[paper].protocols.items()
        if (missing := [key for key in keys if acts(key, protocol) and key not in protocol.origins])
    }
    assert not untagged
