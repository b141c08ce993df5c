"""Swin-Unet and Swin-MAE: published counts, released networks, and Swin-T in both halves of Swin-Unet."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_parity, read_keys, relative_difference, shapes

from benchmark.data.masks import block_mask
from benchmark.errors import InputError
from benchmark.models.layers.window_block import WindowBlock
from benchmark.models.registry import build
from benchmark.models.released import load_released, weight_sources
from benchmark.settings import MaskedImages
from benchmark.training.objectives.masked_images import reconstruction_loss

SMALL = {"in_channels": 3, "spatial_shape": (64, 64)}


def without_masks(state):
    return {key: value for key, value in state.items() if not key.endswith("attn_mask")}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parity
def test_counts_and_keys_of_swin_unet(reference):
    with torch.device("meta"):
        nine, fourteen = (
            build("swin_unet", in_channels=1, out_channels=classes, spatial_shape=(224, 224)) for classes in (9, 14)
        )
    facts = json.loads(reference("models/swin_unet.json").read_text())["params_measured"]
    assert (count(nine), count(fourteen)) == (facts["9 classes"], facts["14 classes"])
    assert shapes(nine) == without_masks(read_keys(reference("models/swin_unet.keys.json.gz")))


@pytest.mark.parity
def test_counts_and_keys_of_swin_mae(reference):
    with torch.device("meta"):
        model = build("swin_mae", in_channels=3, out_channels=3, spatial_shape=(224, 224))
    facts = json.loads(reference("models/swin_mae.json").read_text())["params_measured"]
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert [count(model), trainable] == list(facts.values())
    assert shapes(model) == read_keys(reference("models/swin_mae.keys.json.gz"))


@pytest.mark.parity
def test_the_released_swin_unet(parity):
    fixture = parity("swin_unet")
    model = build("swin_unet", out_channels=4, width=12, heads=(1, 2, 4, 4), window=4, **SMALL)
    model.load_state_dict(without_masks(fixture["state_dict"]))
    assert_parity(model, fixture)


@pytest.mark.parity
def test_the_released_swin_mae(parity):
    fixture = parity("swin_mae")
    model = build("swin_mae", out_channels=3, width=8, heads=(1, 2, 2, 4), window=2, **SMALL).eval()
    torch.testing.assert_close(model.pos_embed.data, fixture["state_dict"]["pos_embed"])
    model.load_state_dict(fixture["state_dict"])
    image = fixture["input"].clone().requires_grad_()
    found = model.reconstruct(image, fixture["mask_noise"])
    loss, patches, mask = fixture["output"]
    assert torch.equal(found.mask, mask)
    assert relative_difference(found.patches, patches) < 1e-5
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    found.patches.square().mean().backward()
    assert image.grad.norm().item() == pytest.approx(fixture["grad_norm"], rel=1e-4)


@pytest.mark.parity
def test_the_objective_gives_the_loss_of_the_release(parity):
    """Image and mask in, the whole image out: the same loss as the release's own forward pass."""
    fixture = parity("swin_mae")
    model = build("swin_mae", out_channels=3, width=8, heads=(1, 2, 2, 4), window=2, **SMALL).eval()
    model.load_state_dict(fixture["state_dict"])
    masked = {"masking": "blocks", "ratio": 0.75, "cell": 16, "token": 4, "error": "mse"}
    mask = block_mask(fixture["mask_noise"], 64, MaskedImages(**masked))
    loss = reconstruction_loss(fixture["input"], model(fixture["input"], mask), mask, MaskedImages(**masked))
    assert loss.item() == pytest.approx(fixture["output"][0].item(), rel=1e-5)
    loss.backward()
    assert model.mask_token.grad is not None and model.mask_token.grad.abs().max() > 0


def test_masked_pixels_are_not_seen_and_visible_ones_not_scored():
    torch.manual_seed(0)
    model = build("swin_mae", out_channels=3, width=8, heads=(1, 2, 2, 4), window=4, **SMALL).eval()
    image, noise = torch.rand(1, 3, 64, 64), torch.rand(1, 16)
    first = model.reconstruct(image, noise)
    assert first.mask.mean() == 0.75
    hidden = first.mask.view(1, 1, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = model.reconstruct(torch.where(hidden > 0, torch.rand_like(image), image), noise)
    torch.testing.assert_close(first.patches, other.patches)
    assert first.loss != other.loss
    with pytest.raises(ValueError, match="32"):
        model.reconstruct(image[..., :48])


def test_predicted_patches_are_put_where_they_belong():
    torch.manual_seed(0)
    model = build("swin_mae", out_channels=3, width=8, heads=(1, 2, 2, 4), window=4, mask_ratio=0.0, **SMALL).eval()
    image = torch.rand(1, 3, 64, 64)
    patches = model.reconstruct(image, torch.rand(1, 16)).patches
    assert model.reconstruct(image).loss == 0
    row, column = 5, 9
    found = model(image)[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0)
    torch.testing.assert_close(found.flatten(), patches[0, 16 * row + column])


def test_padding_a_map_to_the_window_leaves_what_fits_alone():
    torch.manual_seed(0)
    block = WindowBlock(8, 2, window=(1, 4, 4), shift=(0, 0, 0), drop_path=0.0).eval()
    grid = torch.randn(1, 8, 8, 8)
    assert torch.equal(block(grid[:, :4, :4]), block(grid)[:, :4, :4])
    assert block(grid[:, :7, :5]).shape == (1, 7, 5, 8)
    torch.testing.assert_close(block(grid[:, :7, :5])[:, :4, :4], block(grid)[:, :4, :4])


@pytest.mark.parity
def test_swin_tiny_is_loaded_into_both_halves(reference, tmp_path):
    """The encoder's keys are those of Swin-T; each stage also goes to the mirrored one."""
    keys = read_keys(reference("models/swin_unet.keys.json.gz"))
    kept = ("patch_embed.", "layers.", "norm.")
    state = {
        key: torch.zeros(shape, dtype=torch.long) if key.endswith("index") else torch.randn(shape)
        for key, shape in keys.items()
        if key.startswith(kept)
    }
    state |= {"head.weight": torch.randn(1000, 768), "head.bias": torch.randn(1000)}
    path = tmp_path / "swin_tiny_patch4_window7_224.pth"
    torch.save({"model": state}, path)
    model = build("swin_unet", in_channels=3, out_channels=9, spatial_shape=(224, 224))
    report = load_released(model, path, allow_partial=weight_sources()["swin_tiny_imagenet"].partial)
    assert (report.unexpected, report.mismatched) == ((), ())
    masks = sorted(key for key in keys if key.startswith("layers.") and key.endswith("attn_mask"))
    assert list(report.recomputed) == masks and len(masks) == 3
    encoder, decoder = model.layers[1].blocks[0].mlp.fc1.weight, model.layers_up[2].blocks[0].mlp.fc1.weight
    assert torch.equal(encoder, decoder)
    assert torch.equal(encoder, state["layers.1.blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize(("name", "options"), [("swin_unet", {"depths": (2, 2)}), ("swin_mae", {"mask_ratio": 1.0})])
def test_illegal_options_are_input_errors(name, options):
    with pytest.raises(InputError, match=name):
        build(name, out_channels=3, **SMALL, **options)
