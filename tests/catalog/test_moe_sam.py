"""MoE-SAM's tables: marks against model options, recipes against the released facts, and what the footnotes say."""

from __future__ import annotations

import pytest

from benchmark.catalog import load_catalog
from benchmark.evidence.markdown import table_markdown
from benchmark.evidence.measured import Evidence
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.resolve import cell_sources
from benchmark.models.registry import available_models, model_entry
from benchmark.settings import Loss, PromptedLoss

CATALOG = load_catalog()
FOLDER = CATALOG.papers["moe_sam"]
RUNS = sorted({run for name in FOLDER.targets for run in CATALOG.runs(CATALOG.target(name))})


def mark(target: str, row: str, column: str) -> bool:
    claim = CATALOG.target(target).claim(row, column)
    return claim is not None and claim.value == "✓"


@pytest.mark.parametrize("row", CATALOG.target("table2_components").rows)
def test_the_marks_of_table_2_are_the_options_of_its_networks(row):
    config = CATALOG.run(CATALOG.cell_runs(CATALOG.target("table2_components"), row)[0])
    options, adapted = config.model.options, config.model.name == "moe_sam"
    shown = {
        "MoE-FEB": options.get("feb", True) if adapted else options.get("fusion") == "feb",
        "LPEG": adapted and options.get("lpeg", True),
        "Adapter": adapted and options.get("tuning", "adapter") == "adapter",
        "LoRA": not adapted or options.get("tuning") == "lora",
    }
    assert shown == {column: mark("table2_components", row, column) for column in shown}


@pytest.mark.parametrize("row", CATALOG.target("table3_fusion").rows)
def test_the_marks_of_table_3_are_the_fusions_of_its_networks(row):
    config = CATALOG.run(CATALOG.cell_runs(CATALOG.target("table3_fusion"), row)[0])
    marks = {"add": mark("table3_fusion", row, "Add"), "feb": mark("table3_fusion", row, "MoE-FEB")}
    fusion = config.model.options.get("fusion", "none")
    assert marks == {name: name == fusion for name in marks}
    assert config.model.name.replace("_", "") == row.split(" + ")[0].replace("-", "").lower()


def test_rows_that_stand_in_two_tables_are_one_run():
    def run(target: str, row: str, column: str = "DSC") -> str:
        return CATALOG.cell_runs(CATALOG.target(target), row, column)[0]

    first = "table1_sam_comparison"
    assert run(first, "SAMed", "MMWHS DSC") == run("table2_components", "LoRA") == run("table3_fusion", "SAMed")
    assert run("table2_components", "MoE-FEB + LoRA") == run("table3_fusion", "SAMed + MoE-FEB")
    assert run(first, "SAM (1 pt)", "MMWHS DSC") == run("table3_fusion", "SAM")
    assert run(first, "SAM-Med2D (1 pt)", "MMWHS DSC") == run("table3_fusion", "SAM-Med2D")
    assert run(first, "MoE-SAM (Ours)", "MMWHS DSC") == run("table2_components", "MoE-FEB + LPEG + Adapter")


@pytest.mark.parametrize("run", RUNS)
def test_no_recipe_is_a_placeholder(run):
    config = CATALOG.run(run)
    prompted = "-prompt/" in run
    assert (config.training.objective == "prompted") == (config.inference.method == "prompted") == prompted
    assert model_entry(config.model.name).prompted == prompted
    assert config.training.patch == ((224, 224) if config.dataset == "synapse" else (256, 256))
    assert (
        config.training.sampling.strategy == "whole" and config.convention == "esam" and config.inference.network_grid
    )


def test_the_loss_of_moe_sam_is_e_sam_s():
    training = CATALOG.run("moe_sam/mmwhs/moe_sam/seed0").training
    assert training.loss == Loss(dice=0.8, cross_entropy=0.2, batch_dice=True, squared_denominator=True)
    assert training.steps_per_epoch(2211) == 277 and training.epochs == 400
    schedule = training.schedule
    assert (schedule.warmup_steps, schedule.fall, schedule.set_after_step) == (250, "whole", True)
    assert schedule.warmup_start == pytest.approx(training.optimiser.learning_rate / 250)
    branches = training.augmentation[0].parameters["branches"]
    assert [(branch["name"], branch["probability"]) for branch in branches] == [
        ("rotate", 0.45),
        ("crop", 0.75),
        ("elastic", 0.85),
    ]


def test_one_mask_has_the_papers_loss():
    prompted = CATALOG.run("moe_sam/btcv-prompt/sam/seed0").training.prompted
    expected = PromptedLoss(dice=0.8, cross_entropy=0.2, dice_over="batch", squared_denominator=True)
    assert prompted.loss == expected and prompted.point == "random"
    assert CATALOG.run("moe_sam/btcv-prompt/sam/seed0").training.sampling.slices == "foreground"


@pytest.mark.parametrize("dataset", ["synapse", "mmwhs", "btcv", "acdc"])
def test_intensities_and_axes_of_a_dataset_are_the_same_in_every_recipe(dataset):
    own = [protocol for protocol in FOLDER.protocols.values() if protocol.dataset == dataset]
    assert len(own) >= 7 and len({protocol.preparation for protocol in own}) == 1
    preparation = own[0].preparation
    windows = {"synapse": (-125, 275), "mmwhs": (-750, 750), "btcv": (-150, 500), "acdc": None}
    assert preparation.clip == windows[dataset] and preparation.normalise == "unit"
    assert preparation.orientation == ("RAS" if dataset == "mmwhs" else None)
    ranges = {protocol.training.sampling.slice_range for protocol in own}
    assert ranges == {"unit" if dataset == "acdc" else "stored"}
    assert {protocol.inference.slice_range for protocol in own} == {"stored"}


def test_untuned_rows_are_released_weights():
    config = CATALOG.run("moe_sam/acdc-untuned/sam_med2d/seed0")
    assert config.training_id is None and config.model.initialisation == "sam_med2d_b"
    assert config.inference == CATALOG.run("moe_sam/acdc-prompt/sam_med2d/seed0").inference


def test_a_table_says_what_prompted_rows_are_told_and_which_scans_columns_share():
    target = CATALOG.target("table1_sam_comparison")
    page = table_markdown(build_table(target, cell_sources(CATALOG, target, "paper"), Evidence()))
    told = next(line for line in page.splitlines() if "told one point of every structure" in line)
    assert told.startswith("- SAM (1 pt), MedSAM (1 pt), MSA (1 pt), SAMUS (1 pt), DeSAM (1 pt), SAM-Med2D (1 pt):")
    assert "- Synapse CT DSC, Synapse CT HD: The same 30 scans" in page and "- BTCV DSC, BTCV HD: The same 30" in page
    other = CATALOG.target("table2_components")
    page = table_markdown(build_table(other, cell_sources(CATALOG, other, "paper"), Evidence()))
    assert "told one point" not in page and "same 30 scans" not in page


def test_every_network_of_the_tables_exists():
    assert {model.spec.name for model in FOLDER.models.values()} <= set(available_models())
