"""Printed marks of components are compared with nothing in the tables; here they are held against the networks."""

from __future__ import annotations

import pytest

from benchmark.catalog import load_catalog
from benchmark.settings import RunConfig

CATALOG = load_catalog()
MARK = "✓"


def components(config: RunConfig) -> set[str]:
    """The marked components that a network of MoE-SAM's tables has; MoE-SAM itself has both of its own by default."""
    name, options = config.model.name, config.model.options
    lora = name == "samed" or options.get("tuning") == "lora"
    parts = {
        "MoE-FEB": options.get("feb", name == "moe_sam") or options.get("fusion") == "feb",
        "LPEG": name == "moe_sam" and options.get("lpeg", True),
        "Add": options.get("fusion") == "add",
        "LoRA": lora,
        "Adapter": name == "moe_sam" and not lora,
    }
    return {part for part, present in parts.items() if present}


@pytest.mark.parametrize("name", ["table2_components", "table3_fusion"])
def test_a_row_has_the_components_that_are_marked(name: str) -> None:
    target = CATALOG.target(name)
    marked = [column for column, spec in target.columns.items() if spec.measure == "text"]
    for row in target.rows:
        (run, *_) = [run for column in target.columns for run in CATALOG.cell_runs(target, row, column)]
        claims = {column: target.claim(row, column) for column in marked}
        printed = {column for column, claim in claims.items() if claim and claim.value == MARK}
        assert components(CATALOG.run(run)) & set(marked) == printed, row


@pytest.mark.parametrize(
    ("row", "printed", "begins"),
    [("STU-Net-L", "√ Supervised", "stunet_l_totalseg"), ("Ours", "Self-supervised", "m4oe/mae/")],
)
def test_what_a_method_is_pretrained_by(row: str, printed: str, begins: str) -> None:
    """Of Table 1 of M4oE the two cells that are readable."""
    target = CATALOG.target("table1_design")
    assert target.claim(row, "Pre-train").value == printed
    (run,) = CATALOG.cell_runs(target, row, "# Param")
    trainings = CATALOG.trainings(run)
    weights = [CATALOG.run(name).model.initialisation for name in trainings]
    objectives = {CATALOG.run(name).training.objective for name in trainings}
    assert any(place.startswith(begins) for place in (*trainings, *weights))
    assert ("masked_images" in objectives) == (printed == "Self-supervised")


@pytest.mark.parametrize("row", ["DoDNet", "MED3D", "Liu's"])
def test_a_method_that_lacks_pretraining_begins_from_nothing(row: str) -> None:
    """The text says of three rows of Table 1 of M4oE what their cells, which are lost, would have."""
    (run,) = CATALOG.cell_runs(CATALOG.target("table1_design"), row, "# Param")
    configs = [CATALOG.run(name) for name in CATALOG.trainings(run)]
    assert {(one.model.initialisation, one.training.objective) for one in configs} == {("scratch", "segmentation")}


def test_med3d_can_begin_from_its_released_weights() -> None:
    scratch, pretrained = (CATALOG.run(f"m4oe/flare22-med3d/{model}/seed0") for model in ("med3d", "med3d-pretrained"))
    assert pretrained.model.initialisation == "med3d_23datasets"
    assert pretrained.model.options == scratch.model.options and pretrained.training == scratch.training
