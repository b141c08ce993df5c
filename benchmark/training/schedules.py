"""Learning rates as pure functions of the optimiser step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from benchmark.settings import Schedule


def learning_rate(step: int, schedule: Schedule, *, base: float, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of optimiser step `step` (0-based).

    The clock ticks once per epoch or per step (`schedule.granularity`). During the warm-up of w ticks it rises
    linearly from `warmup_start` at tick 0 to `base` at tick w - 1 (or w, `warmup_end`); then it falls from `base` at
    tick w over the remaining ticks (or as `fall` says). After the last tick the final value is kept. So

    - warmup_cosine is the LinearWarmupCosineAnnealing of SwinUNETR's release (one full tick at `warmup_start`),
    - cosine is torch's CosineAnnealingLR, poly by epoch nnU-Net's, milestones torch's MultiStepLR,
    - poly by step with `set_after_step` is TransUNet's; with `warmup_steps`, a start of base / w and a `whole` fall
      also SAMed's and its descendants'.

    Args:
        step: optimiser step, counted from 0 over the whole training.
        base: the optimiser's learning rate.
        steps_per_epoch: optimiser steps per epoch.
        epochs: epochs trained; the length of the schedule unless it names its own `total_epochs`.
    """
    ticks_per_epoch = steps_per_epoch if schedule.granularity == "step" else 1
    tick = step if schedule.granularity == "step" else step // steps_per_epoch
    tick = max(tick - schedule.set_after_step, 0)
    warmup = schedule.warmup_steps or round(schedule.warmup_epochs * ticks_per_epoch)
    if tick < warmup:
        rise = warmup if schedule.warmup_end == "after" else max(warmup - 1, 1)
        return schedule.warmup_start + (base - schedule.warmup_start) * tick / rise
    begun = 0 if schedule.fall == "hidden" else warmup
    total = round((schedule.total_epochs or epochs) * ticks_per_epoch)
    length = total - warmup if schedule.fall == "remaining" else total
    if schedule.name == "exponential":
        return base * schedule.power ** min(tick - begun, length)
    progress = min((tick - begun) / max(length, 1), 1.0)
    if schedule.name in ("cosine", "warmup_cosine"):
        return schedule.minimum + 0.5 * (base - schedule.minimum) * (1 + math.cos(math.pi * progress))
    if schedule.name == "linear":
        return base + (schedule.minimum - base) * progress
    if schedule.name == "poly":
        return base * (1 - progress) ** schedule.power
    if schedule.name == "milestones":
        passed = sum(tick - begun >= round(share * length) for share in schedule.milestones)
        return base * schedule.power**passed
    return base
