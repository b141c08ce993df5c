"""Networks that begin from several released files: what each gives, in which order, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny import tiny_config
from pydantic import ValidationError
from torch import Tensor, nn

from benchmark import lineage
from benchmark.catalog import load_catalog
from benchmark.files import file_digest, write_json
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import build
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import ModelSpec, RunConfig
from benchmark.training.beginnings import begin

SMALL = {"size": DEMO_SIZE}


def seeded(network: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }


def begun(network: nn.Module, config: RunConfig, folder: Path, states: dict[str, dict[str, Tensor]]) -> None:
    """Begin from the released files of `config`, which are written with these states."""
    records = []
    for name in config.model.released:
        path = folder / f"{name}.pth"
        torch.save(states[name], path)
        write_json(folder / f"{name}.json", {"name": name, "path": str(path), "sha256": file_digest(path)})
        records.append(weights_at_hand(folder / f"{name}.json", None))
    begin(network, config, records)


def test_autosams_row_begins_from_sam_and_hardnet_and_says_what_of_each(tmp_path, capsys):
    row = load_catalog().run("moe_sam/synapse-autosam/autosam/seed0")
    assert row.model.released == ("sam_vit_h", "hardnet85_imagenet")
    assert lineage.released_parts(row) == ("released", "released2")
    options = {**SMALL, "stem": (8, 12), "blocks": ((6, 4, 16, True), (8, 8, 20, True), (10, 8, 24, True), (12, 4, 28,
               False))}  # fmt: skip
    network = build("autosam", in_channels=1, out_channels=4, spatial_shape=(64, 64), **options)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    hardnet = {
        key.removeprefix("model.backbone."): value
        for key, value in seeded(network).items()
        if key.startswith("model.backbone.")
    }
    sam = seeded(build("sam", in_channels=1, out_channels=2, spatial_shape=(64, 64), **SMALL))
    begun(network, row, tmp_path, {"sam_vit_h": sam, "hardnet85_imagenet": hardnet})
    after = network.state_dict()
    assert all(torch.equal(after[f"sam.{key}"], value) for key, value in sam.items())
    assert all(torch.equal(after[f"model.backbone.{key}"], value) for key, value in hardnet.items())
    started = [key for key in after if key.startswith("model.decoder.")]
    assert started and all(torch.equal(after[key], before[key]) for key in started)
    said = capsys.readouterr().err
    assert f"initialised from sam_vit_h: {len(sam)} loaded" in said
    assert f"initialised from hardnet85_imagenet: {len(hardnet)} loaded" in said


def test_the_released_updates_of_samed_are_laid_over_sam(tmp_path):
    model = {"name": "samed", "initialisation": "sam_vit_b", "also": ["samed_synapse_512"], "options": SMALL}
    config = tiny_config(model=model)
    network = build("samed", in_channels=1, out_channels=9, spatial_shape=(64, 64), **SMALL)
    sam = seeded(build("sam", in_channels=1, out_channels=2, spatial_shape=(64, 64), **SMALL))
    tuned = {key.removeprefix("sam."): value + 1 for key, value in seeded(network).items()}
    updates = {key: value for key, value in tuned.items() if not key.startswith("image_encoder.")}
    for key, value in tuned.items():
        if ".linear_" in key:
            block, (letter, part) = int(key.split(".")[2]), key.split(".linear_")[1].split(".")[0].split("_")
            updates[f"w_{letter}_{2 * block + 'qv'.index(part):03d}"] = value
    begun(network, config, tmp_path, {"sam_vit_b": sam, "samed_synapse_512": updates})
    after = {key.removeprefix("sam."): value for key, value in network.state_dict().items()}
    assert torch.equal(after["image_encoder.blocks.1.mlp.lin1.weight"], sam["image_encoder.blocks.1.mlp.lin1.weight"])
    assert torch.equal(after["image_encoder.blocks.0.attn.qkv.qkv.weight"],
                       sam["image_encoder.blocks.0.attn.qkv.weight"])  # fmt: skip
    for key in (key for key in tuned if ".linear_" in key or not key.startswith("image_encoder.")):
        assert torch.equal(after[key], tuned[key]), key


def test_what_is_loaded_after_nothing_is_refused():
    with pytest.raises(ValidationError, match="loaded after `initialisation`"):
        ModelSpec(name="autosam", also=("hardnet85_imagenet",))
    assert "also" not in ModelSpec(name="autosam").model_dump()  # what was made before there was such a field stands
