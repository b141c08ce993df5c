"""Joint trainings in paper_tables: heads and experts of M4oE, what its rows begin from, and their variants."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from benchmark.catalog import Catalog, load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.cost.meta import build_on_meta
from benchmark.errors import InputError
from benchmark.models.registry import build_for_run
from benchmark.settings import Selection

CATALOG = load_catalog()
RELEASED_HEADS = (14, 3, 16)  # train.py and test.py of JefferyJiang-YF/M4oE @4f8c343
DEMO_HEADS = (8, 3, 8)  # the seven organs of the tables, and ATLAS's two structures


@pytest.mark.parametrize(
    ("protocol", "head", "training", "third"),
    [
        ("flare22", 0, "joint", "mae_amos_ct"),
        ("atlas2023", 1, "joint", "mae_amos_ct"),
        ("amos_ct", 2, "joint", "mae_amos_ct"),
        ("amos_ct_mri", 2, "joint_mri", "mae_amos_mr"),
        ("flare22-adamw", 0, "joint-adamw", "mae_amos_ct"),
        ("atlas2023-selected", 1, "joint-selected", "mae_amos_ct"),
    ],
)
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_two_phases_and_a_head_for_each_dataset(protocol, head, training, third, scale):
    run = CATALOG.run(f"m4oe/{protocol}/m4oe/seed0", scale)
    trained = CATALOG.training(run.run, scale)
    assert trained is not None and trained.run == f"m4oe/{training}/m4oe/seed0"
    heads = RELEASED_HEADS if scale == "paper" else DEMO_HEADS
    assert (run.heads, run.head) == (heads, head)
    assert (trained.heads, trained.head) == (heads, None)
    assert trained.joint[head].id == run.store.id
    parts = {edge.part: edge.training.split("/")[1] for edge in trained.begins_from}
    shared = "mae_mri" if training == "joint_mri" else "mae"
    assert parts == {"encoder": shared, "expert0": "mae_flare22", "expert1": "mae_atlas2023", "expert2": third}
    pretrained = CATALOG.run(f"m4oe/{shared}/swin_mae/seed0", scale)
    assert pretrained.heads == () and [store.id for store in pretrained.joint] == [store.id for store in trained.joint]


def test_the_rate_and_the_epochs_are_of_one_command():
    trained = CATALOG.run("m4oe/joint/m4oe/seed0").training
    assert (trained.epochs, trained.batch, trained.optimiser.learning_rate) == (150, 36, pytest.approx(0.05 * 36 / 24))
    assert trained.counts_slices(volumes=True) and trained.sampling.slices == "all" and trained.schedule.set_after_step
    assert CATALOG.run("m4oe/joint-adamw/m4oe/seed0").training.optimiser.name == "adamw"
    assert CATALOG.run("m4oe/joint-selected/m4oe/seed0").training.selection == Selection()
    assert trained.selection is None


@pytest.mark.parametrize(
    ("model", "experts", "parts"),
    [
        ("m4oe", (True, True, "as_released"), 4),
        ("m4oe-as_written", (True, True, "as_written"), 4),
        ("m4oe-loader_as_released", (True, True, "as_released"), 1),
        ("m4oe-no_gate", (True, True, "none"), 4),
        ("m4oe-encoder", (True, False, "as_released"), 4),
        ("m4oe-decoder", (False, True, "as_released"), 1),
        ("m4oe-mlp_mlp", (False, False, None), 1),
    ],
)
def test_rows_of_the_ablation_have_their_experts(model, experts, parts):
    config = CATALOG.run(f"m4oe/joint/{model}/seed0")
    network = build_on_meta(build_for_run, config, in_channels=1, out_channels=16)
    inside = [hasattr(stage.blocks[0].mlp, "experts") for stage in (network.layers[0], network.layers_up[1])]
    gates = {module.gate for module in network.modules() if hasattr(module, "gate")}
    assert (*inside, next(iter(gates), None)) == experts and len(gates) <= 1
    assert network.classes == RELEASED_HEADS and len(config.begins_from) == parts


def test_a_dataset_without_a_head_is_named(tmp_path: Path):
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))
    path = folder / "m4oe/protocols.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree["parts"]["all_datasets"]["joint"]["value"].remove("atlas2023")
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError, match="joint has no head, or several, of atlas2023"):
        Catalog(folder).run("m4oe/atlas2023/m4oe/seed0")
