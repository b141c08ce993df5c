"""The adaptation's network: SimMIM's masking, what it begins from, and what the two Swin-UMambas take from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data.masks import cell_mask
from benchmark.errors import InputError
from benchmark.models.layers.vss_weights import PREFIX
from benchmark.models.registry import build
from benchmark.models.released import load_released, weight_source
from benchmark.settings import MaskedImages

NETWORKS = ("swin_umamba", "swin_umamba_d")
SOURCES = {"swin_umamba": "vmamba_tiny_imagenet", "swin_umamba_d": "vmamba_tiny_imagenet_dagger"}
SMALL = {"spatial_shape": (64, 96), "width": 8, "depths": (1, 1, 2, 1)}
CLASSES = 3


def masked(encoder: str, *, channels: int = 1, **options: Any) -> nn.Module:
    options = {"in_channels": channels, "out_channels": channels, **SMALL, **options}
    return build("masked_encoder", encoder=encoder, **options)


def segmentation(name: str, *, channels: int = 1, **options: Any) -> nn.Module:
    return build(name, **{"in_channels": channels, "out_channels": CLASSES, **SMALL, **options})


@pytest.mark.parametrize("encoder", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_encoder_has_the_keys_and_shapes_of_its_network(encoder: str, channels: int) -> None:
    adapted, network = masked(encoder, channels=channels).state_dict(), segmentation(encoder, channels=channels)
    own = {key: value.shape for key, value in network.state_dict().items() if key.startswith((PREFIX, "stem."))}
    assert own == {key: value.shape for key, value in adapted.items() if key not in HEAD}


HEAD = {"mask_token", "head.weight", "head.bias"}


@pytest.mark.parametrize("encoder", NETWORKS)
def test_masked_tokens_are_replaced_behind_the_patch_embedding(encoder: str) -> None:
    """What lies under the mask has no influence, but for the few pixels that Swin-UMamba's stem and its norm see."""
    network = masked(encoder).eval()
    images, mask = torch.rand(2, 1, 64, 96), torch.zeros(2, 16, 24)
    mask[:, :8, 8:16] = 1
    other = images.clone()
    other[:, :, :32, 32:64] += 1
    reconstructions = network(images, mask), network(other, mask)
    assert reconstructions[0].shape == images.shape
    assert torch.equal(*reconstructions) is (encoder == "swin_umamba_d")
    assert not torch.equal(reconstructions[0], network(images))
    hidden = torch.ones(2, 16, 24)
    assert torch.equal(network(images, hidden), network(other, hidden))  # nothing is left to see


def test_the_head_puts_the_pixels_of_a_cell_in_their_place() -> None:
    """Bias number k = channel · 32² + row · 32 + column of every cell, as torch's PixelShuffle in SimMIM's head."""
    network = masked("swin_umamba_d", channels=3)
    nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.arange(3 * 32 * 32.0)
    pixels = network(torch.rand(1, 3, 64, 64)).detach()
    cell = torch.arange(3 * 32 * 32.0).view(3, 32, 32)
    assert torch.equal(pixels[0], cell.repeat(1, 2, 2))


def test_wrong_masks_and_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 16, 24\)"):
        masked("swin_umamba_d")(torch.rand(1, 1, 64, 96), torch.zeros(1, 24, 16))
    for options in ({"encoder": "unetr"}, {"depths": (1, 1, 1)}, {"patch_embed": "all"}):
        with pytest.raises(InputError, match="masked_encoder"):
            masked(**{"encoder": "swin_umamba_d", **options})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_begins_from_an_adapted_encoder_and_says_what_became_of_every_key(name: str) -> None:
    adapted, network = masked(name).state_dict(), segmentation(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = network.begin_from("encoder", adapted)
    after = network.state_dict()
    assert set(report.loaded) == set(adapted) - HEAD == set(report.loaded) & set(after)
    assert set(report.unexpected) == HEAD
    assert set(report.loaded) | set(report.missing) == set(after)
    assert all(torch.equal(after[key], adapted[key]) for key in report.loaded)
    assert all(torch.equal(after[key], before[key]) for key in report.missing)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_embedding_can_stay_behind(name: str) -> None:
    network = segmentation(name, adapted_embedding=False)
    embedding = {key for key in network.state_dict() if "patch_embed." in key or key.startswith("stem.")}
    before = {key: network.state_dict()[key].clone() for key in embedding}
    report = network.begin_from("encoder", masked(name, channels=3).state_dict())  # so another one fits as well
    assert embedding <= set(report.missing) and embedding <= set(report.unexpected)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_a_shallower_network_takes_what_it_has_blocks_for() -> None:
    network = segmentation("swin_umamba_d", depths=(1, 1, 1, 1))
    report = network.begin_from("encoder", masked("swin_umamba_d").state_dict())
    assert {key for key in report.unexpected if key not in HEAD} == {
        key for key in masked("swin_umamba_d").state_dict() if key.startswith(f"{PREFIX}layers.2.blocks.1.")
    }


@pytest.mark.parametrize(
    ("part", "state", "words"),
    [
        ("decoder", {}, "no such part"),
        ("encoder", {"width": 16}, "of another shape"),
        ("encoder", {"channels": 3}, "1 of another shape"),
        ("encoder", {"depths": (1, 1, 1, 1)}, "13 missing"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_and_nothing_changes(part: str, state: dict, words: str) -> None:
    network = segmentation("swin_umamba_d")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=words):
        network.begin_from(part, masked("swin_umamba_d", **state).state_dict())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.fixture(scope="module")
def vmamba(parity_around) -> dict[str, torch.Tensor]:
    """VMamba-Tiny's keys, in the shapes of a small network; values tell the tensors apart."""
    keys = parity_around("weights_vmamba")["networks"]["dagger_3ch"]["map"]
    own = segmentation("swin_umamba_d", channels=3, depths=(2, 2, 9, 2)).state_dict()
    shapes = {key: own[mapped].shape for key, mapped in keys.items() if mapped in own}
    return {key: torch.full(shapes.get(key, (1000,)), float(number)) for number, key in enumerate(keys)}


TABLES = [("swin_umamba_d", 1, "dagger_1ch"), ("swin_umamba_d", 3, "dagger_3ch"), ("swin_umamba", 3, "swin_umamba")]


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["masked_encoder", "segmentation"])
@pytest.mark.parametrize(("name", "channels", "table"), TABLES)
def test_vmambas_keys_go_where_the_release_puts_them(parity_around, vmamba, kind, name, channels, table) -> None:
    """The release's own map of 212 keys; the masked encoder takes the same, none of what surrounds the encoder."""
    make = masked if kind == "masked_encoder" else segmentation
    network = make(name, channels=channels, depths=(2, 2, 9, 2), width=4 if name == "swin_umamba" else 8)
    facts = parity_around("weights_vmamba")["networks"][table]["map"]
    adapted = network.adapt_released(vmamba)
    own = network.state_dict()
    assert {key: value.flatten()[0].item() for key, value in adapted.items() if key in own} == {
        mapped: vmamba[key].flatten()[0].item() for key, mapped in facts.items() if mapped
    }
    assert adapted.keys() <= own.keys()


@pytest.mark.parity
def test_the_pretrained_decoder_is_vmambas_also_beside_an_adapted_encoder(parity_around, vmamba) -> None:
    facts = parity_around("weights_vmamba")["pretrained_decoder"]
    network = segmentation("swin_umamba_d", channels=3, depths=(2, 2, 9, 2), pretrained_decoder=True)
    state = network.adapt_released(vmamba)
    decoder = {key: value for key, value in state.items() if key.startswith("decoder.")}
    assert len(decoder) == 78 and decoder.keys() == set(facts["map"].values())
    assert all(torch.equal(decoder[target], vmamba[source]) for source, target in facts["map"].items())
    network.load_state_dict(state, strict=False)
    adapted = masked("swin_umamba_d", channels=3, depths=(2, 2, 9, 2)).state_dict()
    report = network.begin_from("encoder", adapted)
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in decoder.items())
    assert all(torch.equal(after[key], adapted[key]) for key in report.loaded)
    assert set(facts["decoder_keys_left_at_random"]) | decoder.keys() == {k for k in after if k.startswith("decoder.")}


@pytest.mark.parity
@pytest.mark.parametrize("name", ["masked_encoder", "swin_umamba_d"])
def test_a_symmetric_encoder_loads_what_fits_and_says_what_does_not(vmamba, tmp_path, name: str) -> None:
    torch.save({"model": vmamba}, tmp_path / "vmamba.pth")
    network = build(name, in_channels=3, out_channels=3, **SMALL | {"depths": (2, 2, 2, 2)})
    patterns = weight_source(SOURCES["swin_umamba_d"]).partial_for(name)
    report = load_released(network, tmp_path / "vmamba.pth", allow_partial=patterns)
    assert len(report.loaded) == 208 - 7 * 13 and report.mismatched == ()
    assert {key.split(".blocks.")[1][0] for key in report.unexpected} == set("2345678")
    assert len(report.unexpected) == 7 * 13
    assert not any(key.startswith(PREFIX) for key in report.missing)


def test_a_mask_of_60_percent_hides_22_of_36_cells() -> None:
    """The masks of the protocol fit the network as they are drawn."""
    settings = MaskedImages(masking="cells", ratio=0.6, cell=32, token=4, error="l1")
    mask = torch.from_numpy(cell_mask(192, settings, np.random.default_rng(0))).float()[None]
    assert mask.shape == (1, 48, 48) and mask.sum() == 22 * 64
    network = masked("swin_umamba_d", spatial_shape=(192, 192)).eval()
    assert network(torch.rand(1, 1, 192, 192), mask).shape[2:] == (192, 192)
