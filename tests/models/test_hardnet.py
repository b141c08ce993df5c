"""HarDNet-85: widths, links and counts of the publication, and the maps of the released layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.models.layers.hardnet import HarDNet, layer_width, links

# Growth -> widths of layers with 1, 2, 3, ... links (spec_autosam.md, section 1.3).
WIDTHS = {
    24: [24, 40, 70, 118, 200],
    28: [28, 48, 80, 138, 234],
    36: [36, 62, 104, 176, 300],
    48: [48, 82, 138, 236, 400],
    256: [256, 436, 740],
}
SMALL = {"stem": (8, 12), "blocks": ((6, 4, 16, True), (8, 8, 20, True), (10, 8, 24, True), (12, 4, 28, False))}


@pytest.mark.parametrize("growth", WIDTHS)
def test_width_grows_with_the_number_of_links(growth):
    assert [layer_width(growth, 2**power) for power in range(len(WIDTHS[growth]))] == WIDTHS[growth]
    assert layer_width(growth, 7) == growth


def test_a_layer_reads_those_a_power_of_two_before_it():
    assert [links(layer) for layer in (1, 2, 6, 8, 12, 16)] == [
        [0],
        [1, 0],
        [5, 4],
        [7, 6, 4, 0],
        [11, 10, 8],
        [15, 14, 12, 8, 0],
    ]


def test_hardnet_85():
    with torch.device("meta"):
        network = HarDNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 35_389_212
    assert len(network.state_dict()) == 504
    unread = sum(p.numel() for place in (16, 18) for p in network.base[place].parameters())
    assert unread == 17_505_664
    maps = network(torch.empty(1, 3, 512, 512, device="meta"))
    assert [tuple(features.shape[1:3]) for features in maps] == [
        (96, 256),
        (192, 128),
        (320, 64),
        (720, 32),
        (1280, 16),
    ]
    blocks = [network.base[place] for place in (3, 6, 8, 11, 13, 16)]
    assert [block.out_channels for block in blocks] == [214, 392, 458, 588, 784, 1252]
    first = [(unit.conv.in_channels, unit.conv.out_channels) for unit in blocks[0].layers]
    assert first == [(96, 24), (120, 40), (40, 24), (160, 70), (70, 24), (94, 40), (40, 24), (230, 118)]
    last = blocks[4].layers[-1].conv
    assert (last.in_channels, last.out_channels) == (984, 400)


@pytest.mark.parity
def test_the_released_layers(parity):
    fixture = parity("autosam")
    network = HarDNet(**SMALL).eval()
    prefix = "model.backbone."
    state = {k.removeprefix(prefix): v for k, v in fixture["state_dict"].items() if k.startswith(prefix)}
    network.load_state_dict(state)
    with torch.no_grad():
        maps = network(fixture["input"]["image_small"])
    for found, expected in zip(maps, fixture["output"]["hardnet_features"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_activations_are_cut_at_six_and_norms_are_the_defaults():
    network = HarDNet(**SMALL)
    units = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in units} == {(1e-5, 0.1)}
    unit = network.base[0].eval()
    unit.norm.bias.data.fill_(100)
    assert unit(torch.rand(1, 3, 8, 8)).max() == 6


@pytest.mark.parametrize("blocks", [((6, 4, 16, True),), ((6, 4, 16, True),) * 3])
def test_halvings_are_fixed(blocks):
    with pytest.raises(ValueError, match="three blocks"):
        HarDNet((8, 12), blocks)
