"""Released weights scored as they are, at the papers' scale and through the rules: a file that a user has placed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import yaml
from helpers.clone import snakemake
from helpers.dry_run import make_clone

from benchmark.data.phantoms import get_phantom, write
from benchmark.files import read_json
from benchmark.layout import Layout
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import build

pytestmark = pytest.mark.slow

RUN = "m4oe/atlas2023-prompt/sam_med2d/seed0"
FILE = "sam-med2d_b.pth"
TABLE = "results/table3_atlas.csv"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone in which SAM-Med2D is narrow and sees 64 pixels, with a phantom in place of ATLAS, and no weights yet."""
    folder = make_clone(tmp_path_factory.mktemp("released"))
    write(get_phantom("atlas2023"), folder / "atlas")
    paper = folder / "paper_tables/m4oe"
    protocols, models = (yaml.safe_load((paper / f"{name}.yaml").read_text()) for name in ("protocols", "models"))
    protocols["flare22-prompt"]["training"]["patch"]["value"] = [64, 64]
    models["sam_med2d"]["options"]["value"] = {"size": {**DEMO_SIZE, "global_blocks": [1, 3]}}
    for name, tree in (("protocols", protocols), ("models", models)):
        (paper / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (folder / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "roots": {"atlas2023": "atlas"},
                "weights": "given",
                "targets": ["table3_atlas"],
                "rows": {"table3_atlas": ["SAM-Med2D"]},
            }
        )
    )
    return folder


def rebuild(clone: Path, *words: str):
    return snakemake(clone, "--cores", "2", "--configfile", "config.yaml", *words, "--", TABLE)


def place_weights(clone: Path, seed: int) -> None:
    """A file as SAM-Med2D's `train.py` writes it: the network for 128 pixels under `model`."""
    torch.manual_seed(seed)
    network = build("sam_med2d", in_channels=3, out_channels=2, spatial_shape=(128, 128), size=DEMO_SIZE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = clone / "given" / FILE
    path.parent.mkdir(exist_ok=True)
    torch.save({"model": network.state_dict(), "iou": 0.5}, path)


def test_a_file_that_a_user_placed_is_scored_and_not_trained(clone):
    place_weights(clone, seed=0)
    assert "train_run" not in rebuild(clone, "-n").stdout
    done = rebuild(clone)
    assert done.returncode == 0, done.stderr[-4000:]
    layout = Layout.at("paper")
    record = read_json(clone / layout.weights("sam_med2d_b"))
    predicted = read_json(clone / layout.predicted(RUN))
    assert predicted["weights_sha256"] == record["sha256"] and record["basis"] == "first sight"
    assert not (clone / layout.trained(RUN)).exists()
    with (clone / TABLE).open(encoding="utf-8") as stream:
        row = next(line for line in csv.DictReader(stream) if line["row"] == "SAM-Med2D")
    assert all(0 <= float(row[f"DSC (%) {organ}"]) <= 100 for organ in ("Liver", "Tumor", "Mean"))
    assert rebuild(clone, "-n").stdout.count("Nothing to be done") == 1
