"""The plan: sums by hand, shared runs once, honest about what is unknown, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.sources import has_volumes, load_sources, source_of
from benchmark.cost.budget import assumed_samples_per_second, assumptions
from benchmark.cost.plan import footnotes, size
from benchmark.cost.planner import Planner, jobs, totals
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError

CATALOG = load_catalog()
PLANNER = Planner(CATALOG)


def test_table1_totalseg() -> None:
    plans = PLANNER.runs(["table1_totalseg"])
    whole = totals(plans)
    assert (whole.runs, whole.steps) == (12, 12 * 136_000)
    assert whole.jobs == jobs(plans) == 4 + 1 + 12 * 3  # fetch, verify, split, check; one store; train, predict, score
    assert PLANNER.totals(["table1_totalseg"]).jobs == whole.jobs + 4  # counts, times, controls, the table
    assert whole.gpu_hours > 100 and whole.disk_bytes > 1e9
    alone = totals([plan for plan in plans if plan.run.endswith("swin_smt-n32/seed0")])
    assert alone.methods == ("counted",) and alone.gpu_hours == pytest.approx(186, abs=1)


def test_a_row_by_another_recipe_has_the_operations_of_its_network() -> None:
    whole = totals(Planner(load_catalog(variant="original")).runs(["table1_totalseg"]))
    assert (whole.runs, whole.without_hours, whole.methods) == (12, 0, ("counted",))
    assert whole.steps == 4 * 136_000 + 136_000 + 272_000 + 68_000 + 50_000 + 40_000 + 60_000 + 2 * 250_000


def test_shared_runs_are_counted_once() -> None:
    both = PLANNER.runs(["table1_totalseg", "table2_experts"])
    assert len({plan.run for plan in both}) == len(both) < 12 + 5


def test_printed_flops_stand_in_for_networks_that_are_not_counted() -> None:
    run = "swin_umamba_dagger/abdomen_mri/swin_umamba_d-adapted/seed0"
    counted, method = PLANNER._network(run)
    assert counted is not None and method in ("counted", "printed FLOPs")
    if method == "printed FLOPs":
        assert (counted.parameters, counted.flops_complete) == (28_000_000, 37_800_000_000)


def test_a_timed_training_gives_the_speed_of_the_card() -> None:
    """A card that trains UNETR at 3 times the assumed rate and nnFormer at 12 times is 6 times as fast."""
    runs = [f"swin_smt/totalseg/{name}/seed0" for name in ("unetr", "nnformer")]
    assumed = [assumed_samples_per_second(CATALOG.run(run), PLANNER._network(run)[0]) for run in runs]
    planner = Planner(CATALOG, rate=dict(zip(runs, (3 * assumed[0], 12 * assumed[1]), strict=True)))
    assert planner.speed == pytest.approx(6)
    hours, mine = (totals(one.runs(["table1_totalseg"])).gpu_hours for one in (PLANNER, planner))
    assert mine == pytest.approx(hours / 6)
    with pytest.raises(InputError, match="unknown protocol"):
        Planner(CATALOG, rate={"swin_smt/nowhere/unetr/seed0": 1.0})


def test_pre_trainings_have_hours() -> None:
    """Of the adaptation by hand: 94 slices of 60 scans in batches of 128, 50 epochs, three passes each."""
    plans = {plan.run: plan for plan in PLANNER.runs(CATALOG.targets) if not plan.scored}
    assert len(plans) == 23 and all(plan.budget.gpu_hours > 0 for plan in plans.values())
    name = "swin_umamba_dagger/abdomen_mri-adaptation/encoder-imagenet/seed0"
    adaptation = plans[name].budget
    assert adaptation.steps == 50 * 45 and adaptation.prediction_hours == 0
    rate = assumptions().sustained_tflops[CATALOG.run(name).training.precision]
    assert adaptation.training_hours == pytest.approx(3 * 2250 * 128 * 6_675_800_064 / (rate * 1e12) / 3600)
    hours = sum(plan.budget.gpu_hours for plan in plans.values())
    told = " ".join(footnotes(PLANNER.runs(CATALOG.targets)))
    assert "23 trainings are no runs" in told and f": {hours:,.0f} of these GPU-hours" in told
    joint = plans["m4oe/joint/m4oe/seed0"]
    assert joint.method == "counted" and joint.budget.training_hours > 10


def test_a_pilot_takes_its_share() -> None:
    pilot = Planner(load_catalog(share=0.1), "pilot").plan("swin_smt/totalseg/unetr/seed0").budget
    assert pilot.training_hours == pytest.approx(
        0.1 * PLANNER.plan("swin_smt/totalseg/unetr/seed0").budget.training_hours
    )


def test_unknown_is_said() -> None:
    """Nobody says how many slices of a data set show a structure that is asked for by a point."""
    unknown = [plan for plan in PLANNER.runs(["table1_sam_comparison"]) if plan.budget is None]
    assert {plan.dataset for plan in unknown} == {"synapse", "btcv", "mmwhs"}
    assert totals(unknown).without_hours == totals(unknown).without_steps == len(unknown)


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        ("m4oe/flare22-prompt/sam_med2d/seed0", 0),  # released weights: nothing is trained
        ("m4oe/flare22-dodnet/dodnet/seed0", 250_000),
        ("moe_sam/acdc-task/nnunet/seed0", 100_000),  # 2000 slices, 250 steps an epoch
        ("swin_smt/totalseg/unetr/seed0", 136_000),
    ],
)
def test_steps_of_a_training(run: str, steps: int) -> None:
    assert PLANNER.plan(run).budget.steps == steps


def test_every_dataset_has_facts() -> None:
    sources = load_sources(CATALOG.folder)
    used = {CATALOG.run(run).dataset for target in CATALOG.targets.values() for run in CATALOG.runs(target)}
    assert used <= set(sources)
    for name in used:
        source = source_of(sources, name)
        assert source.licence and source.account and source.training_cases > 0
    with pytest.raises(InputError, match="has no facts"):
        source_of(sources, "nothing")


@pytest.mark.parametrize("name", sorted(set(available_datasets()) & set(load_sources(CATALOG.folder))))
def test_facts_agree_with_the_modules(name: str) -> None:
    dataset, source = get_dataset(name), load_sources(CATALOG.folder)[name]
    if "train" in dataset.split_counts:
        assert dataset.split_counts["train"] == source.training_cases
    if dataset.download_bytes and source.download_bytes:
        assert dataset.download_bytes == source.download_bytes


def test_slices() -> None:
    whole = CATALOG.run("m4oe/amos_ct/m4oe/seed0").training
    patches = CATALOG.run("swin_umamba/abdomen_mri/swin_umamba-imagenet/seed0").training
    sources = load_sources(CATALOG.folder)
    assert sources["amos_ct"].training_samples(whole, volumes=True) == 216 * 100
    assert sources["amos_ct"].training_samples(whole, volumes=False) == 216
    assert sources["amos_ct"].training_samples(patches, volumes=True) == 216
    labelled = whole.model_copy(update={"sampling": whole.sampling.model_copy(update={"slices": "foreground"})})
    assert sources["amos_ct"].training_samples(labelled, volumes=True) is None
    assert sources["mmwhs"].training_samples(whole, volumes=True) == 16 * 246  # the median is 245.5
    assert sources["abdomen_mri"].predicted_images(2, volumes=True) == 3357


def _protocol_runs() -> dict[str, str]:
    """One run of every protocol, also of those without a target's row."""
    runs = {run for target in CATALOG.targets.values() for run in CATALOG.runs(target)}
    return {"/".join(run.split("/")[:2]): run for run in sorted(runs)}


@pytest.mark.parametrize("protocol", sorted(_protocol_runs()))
def test_plan_and_training_agree_on_the_steps_of_an_epoch(protocol: str, tmp_path: Path) -> None:
    """Of a store that is as the facts say: so many cases, so many slices each."""
    config = CATALOG.run(_protocol_runs()[protocol])
    volumes, cases, slices = has_volumes(config.dataset), 5, 7
    shape = [6, 4, 3] if volumes else [6, 4]
    if volumes:
        shape[config.inference.slice_axis] = slices
    store = PreparedStore.create(
        tmp_path,
        {f"c{k}": (np.zeros((1, *shape)), np.ones(shape), {}) for k in range(cases)},
        label_names=["organ"],
    )
    samples = PatchDataset(store, store.cases, config.training, config.seed, slice_axis=config.inference.slice_axis)
    source = load_sources(CATALOG.folder)[config.dataset]
    counts = {"training_cases": cases, "slices_per_case": slices, "labelled_slices_per_case": slices}
    planned = source.model_copy(update=counts).training_samples(config.training, volumes=volumes)
    assert config.training.steps_per_epoch(planned) == samples.steps_per_epoch
    if not config.training.iterations_per_epoch:
        assert planned == len(samples.samples)


def test_sizes() -> None:
    assert [size(number) for number in (None, 12, 3e6, 23_581_218_285, 2e12)] == [
        "unknown", "12 B", "3.0 MB", "23.6 GB", "2.0 TB",
    ]  # fmt: skip


def test_command_line_without_torch() -> None:
    script = (
        "import sys\nfrom benchmark.cli import main\n"
        "assert main(['plan', 'table1_totalseg', 'table3_atlas', '--runs']) == 0\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("table1_totalseg", "1,632,000", "together", "CC BY 4.0", "registration at atlas"):
        assert word in done.stdout
    done = subprocess.run([sys.executable, "-m", "benchmark", "plan", "tabel1"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown target" in done.stderr
