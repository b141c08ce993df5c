"""Learning rates as pure functions of the optimiser step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from benchmark.settings import Schedule


def learning_rate(step: int, schedule: Schedule, *, base: float, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of optimiser step `step` (0-based).

    The clock ticks once per epoch or per step (`schedule.granularity`). During the warm-up of w ticks it rises
    linearly from `warmup_start` at tick 0 to `base` at tick w - 1; then it falls over the remaining ticks, from `base`
    at tick w. warmup_cosine is thereby the LinearWarmupCosineAnnealing of SwinUNETR's release (one full tick is spent
    at `warmup_start`), cosine is torch's CosineAnnealingLR, and poly by epoch is nnU-Net's. After the last tick the
    final value is kept.

    Args:
        step: optimiser step, counted from 0 over the whole training.
        base: the optimiser's learning rate.
        steps_per_epoch: optimiser steps per epoch.
        epochs: epochs trained; the length of the schedule unless it names its own `total_epochs`.
    """
    ticks_per_epoch = steps_per_epoch if schedule.granularity == "step" else 1
    tick = step if schedule.granularity == "step" else step // steps_per_epoch
    warmup = round(schedule.warmup_epochs * ticks_per_epoch)
    if tick < warmup:
        return schedule.warmup_start + (base - schedule.warmup_start) * tick / max(warmup - 1, 1)
    total = round((schedule.total_epochs or epochs) * ticks_per_epoch)
    progress = min((tick - warmup) / max(total - warmup, 1), 1.0)
    if schedule.name in ("cosine", "warmup_cosine"):
        return schedule.minimum + 0.5 * (base - schedule.minimum) * (1 + math.cos(math.pi * progress))
    if schedule.name == "linear":
        return base + (schedule.minimum - base) * progress
    if schedule.name == "poly":
        return base * (1 - progress) ** schedule.power
    return base
