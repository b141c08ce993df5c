"""Every schedule against torch's own, and the released warm-up cosine against its recursive definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from benchmark.settings import Schedule
from benchmark.training.schedules import learning_rate

STEPWISE_POLY = {"name": "poly", "power": 0.9, "granularity": "step", "set_after_step": True}
SAM_FALL = {**STEPWISE_POLY, "warmup_steps": 250, "fall": "whole"}
EPOCHWISE_POLY = {"name": "poly", "power": 0.9}
# What each release's scheduler is, as settings; warmup_start is base / 250 where a share is given.
RELEASED: dict[str, dict] = {
    "samed": {**SAM_FALL, "warmup_start": 5e-3 / 250},
    "samed_stop_early": {**SAM_FALL, "warmup_start": 5e-3 / 250, "total_epochs": 10},
    "samed_no_warmup": STEPWISE_POLY,
    "e_sam": {**SAM_FALL, "warmup_start": 5e-4 / 250},
    "h_sam": {**SAM_FALL, "warmup_start": 2.6e-3 / 250},
    "transunet": STEPWISE_POLY,
    "m4oe": STEPWISE_POLY,
    "samus_warmup_True": {**SAM_FALL, "warmup_start": 5e-4 / 250},
    "samus_warmup_False": {"name": "constant"},
    "desam": EPOCHWISE_POLY,
    "swin_mae": {"name": "warmup_cosine", "granularity": "step", "warmup_epochs": 10, "warmup_end": "after"},
    "swin_umamba_cosine_T1000": {"name": "cosine", "minimum": 1e-6, "total_epochs": 1000},
    "swin_umamba_cosine_T200": {"name": "cosine", "minimum": 1e-6, "total_epochs": 200},
    "nnunet_poly": EPOCHWISE_POLY,
}

BASE, EPOCHS, STEPS = 1e-2, 20, 3


def _ours(**settings) -> list[float]:
    schedule = Schedule(**settings)
    ticks = EPOCHS * STEPS
    return [learning_rate(t, schedule, base=BASE, steps_per_epoch=STEPS, epochs=EPOCHS) for t in range(ticks)]


def _theirs(make, ticks: int) -> list[float]:
    optimiser = SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = make(optimiser)
    rates = []
    for _ in range(ticks):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


SCHEDULES = {
    "constant": ({}, lambda o, ticks: lr_scheduler.ConstantLR(o, factor=1.0)),
    "cosine": ({"minimum": 1e-4}, lambda o, ticks: lr_scheduler.CosineAnnealingLR(o, T_max=ticks, eta_min=1e-4)),
    "poly": ({"power": 0.9}, lambda o, ticks: lr_scheduler.PolynomialLR(o, total_iters=ticks, power=0.9)),
    "exponential": ({"power": 0.93}, lambda o, ticks: lr_scheduler.ExponentialLR(o, gamma=0.93)),
    "milestones": (
        {"power": 0.5, "milestones": (0.2, 0.4, 0.6, 0.8)},
        lambda o, ticks: lr_scheduler.MultiStepLR(o, [round(ticks * m) for m in (0.2, 0.4, 0.6, 0.8)], gamma=0.5),
    ),
    "linear": (
        {"minimum": 1e-3},
        lambda o, ticks: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=ticks),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("granularity", ["step", "epoch"])
def test_equals_torch(name, granularity):
    options, make = SCHEDULES[name]
    ticks = EPOCHS * STEPS if granularity == "step" else EPOCHS
    theirs = _theirs(lambda optimiser: make(optimiser, ticks), ticks)
    if granularity == "epoch":
        theirs = [rate for rate in theirs for _ in range(STEPS)]
    assert _ours(name=name, granularity=granularity, **options) == pytest.approx(theirs, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("granularity", ["step", "epoch"])
def test_warm_up_cosine_equals_linear_then_cosine_of_torch(granularity):
    warmup, total = (5, EPOCHS) if granularity == "epoch" else (5 * STEPS, EPOCHS * STEPS)

    def make(optimiser):
        # at tick warmup the released schedule is at the full rate for the second time
        rise = lr_scheduler.LinearLR(optimiser, start_factor=1e-3, end_factor=1.0, total_iters=warmup - 1)
        fall = lr_scheduler.CosineAnnealingLR(optimiser, T_max=total - warmup, eta_min=1e-5)
        return lr_scheduler.SequentialLR(optimiser, [rise, fall], milestones=[warmup])

    theirs = _theirs(make, total)
    if granularity == "epoch":
        theirs = [rate for rate in theirs for _ in range(STEPS)]
    settings = {"warmup_epochs": 5, "warmup_start": 1e-3 * BASE, "minimum": 1e-5, "granularity": granularity}
    assert _ours(name="warmup_cosine", **settings) == pytest.approx(theirs, rel=1e-6)


def test_warm_up_cosine_equals_the_recursion_of_the_released_scheduler():
    warmup, start = 4, 0.0
    rate, rates = start, [start]
    for epoch in range(1, EPOCHS):
        if epoch < warmup:
            rate += (BASE - start) / (warmup - 1)
        elif epoch == warmup:
            rate = BASE
        else:
            before, now = (1 + math.cos(math.pi * (e - warmup) / (EPOCHS - warmup)) for e in (epoch - 1, epoch))
            rate *= now / before
        rates.append(rate)
    assert _ours(name="warmup_cosine", warmup_epochs=warmup)[::STEPS] == pytest.approx(rates, rel=1e-9, abs=1e-15)


def test_a_fall_longer_than_the_training_reaches_the_published_rates():
    # Swin-UMamba: T_max stays 1000 while training stops at 100, 250 and 350 epochs
    schedule = Schedule(name="cosine", minimum=1e-6, total_epochs=1000)
    for epoch, expected in {99: 9.76e-5, 249: 8.56e-5, 349: 7.31e-5}.items():
        rate = learning_rate(epoch * 250, schedule, base=1e-4, steps_per_epoch=250, epochs=epoch + 1)
        assert rate == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", ["constant", "warmup_cosine", "cosine", "poly", "linear", "exponential"])
def test_edges_are_finite(name):
    for warmup in (0, 0.3, 1, 20, 50):
        rates = _ours(name=name, warmup_epochs=warmup, granularity="step")
        assert all(0 <= rate <= BASE * (1 + 1e-12) for rate in rates)
    assert learning_rate(10**6, Schedule(name=name), base=BASE, steps_per_epoch=1, epochs=5) >= 0


@pytest.mark.parity
@pytest.mark.parametrize("release", RELEASED)
def test_every_step_has_the_rate_that_the_release_set(parity_around, release):
    facts = parity_around("schedules")["schedules"][release]
    config = facts["config"]
    base = config.get("base_lr", config.get("lr"))
    epochs = config.get("stop_epoch") or config.get("epochs") or config["T_max"]
    per_epoch = config.get("iterations_per_epoch", 40)
    steps = facts.get("steps") or [round(epoch * per_epoch) for epoch in facts.get("epochs") or facts["epoch"]]
    schedule = Schedule(**RELEASED[release])
    rates = [learning_rate(step, schedule, base=base, steps_per_epoch=per_epoch, epochs=epochs) for step in steps]
    assert rates == pytest.approx(facts["lr"], rel=1e-12, abs=1e-18)


@pytest.mark.parity
def test_every_released_schedule_is_tried(parity_around):
    others = {"constant", "h_sam_stage2_weight"}  # words, and a weight of the loss
    assert set(parity_around("schedules")["schedules"]) - others == set(RELEASED)


def test_simmim_falls_under_its_warm_up():
    """timm's CosineLRScheduler as SimMIM uses it: updated after the step, without warmup_prefix."""
    schedule = Schedule(
        name="warmup_cosine", granularity="step", warmup_epochs=10, warmup_start=1e-6, warmup_end="after",
        minimum=1e-5, fall="hidden", set_after_step=True,
    )  # fmt: skip

    def expected(tick: int) -> float:
        if tick < 100:
            return 1e-6 + tick * (2e-4 - 1e-6) / 100
        return 1e-5 + 0.5 * (2e-4 - 1e-5) * (1 + math.cos(math.pi * tick / 1000))

    for step in (0, 1, 2, 50, 100, 101, 102, 500, 999):
        rate = learning_rate(step, schedule, base=2e-4, steps_per_epoch=10, epochs=100)
        assert rate == pytest.approx(expected(max(step - 1, 0)), rel=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup_steps": 5},
        {"set_after_step": True},
        {"granularity": "step", "warmup_steps": 5, "warmup_epochs": 1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match="step"):
        Schedule(name="poly", **settings)
