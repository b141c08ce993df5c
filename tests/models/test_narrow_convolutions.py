"""Weights of narrow 3-D convolutions lie channels last on a CPU, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmark.models.layers.narrow_convolutions import arrange_for_cpu


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 16, 3, padding=1), nn.Conv3d(16, 32, 3, padding=1), nn.ConvTranspose3d(32, 8, 2, stride=2)
    )


def is_channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_only_narrow_convolutions_are_arranged():
    network = nn.ModuleList(
        [nn.Conv3d(4, 16, 3), nn.ConvTranspose3d(16, 2, 2), nn.Conv3d(4, 17, 3), nn.Conv2d(4, 4, 3)]
    )
    before = [layer.weight.clone() for layer in network]
    assert arrange_for_cpu(network) is network
    assert [is_channels_last(layer.weight) for layer in network[:3]] == [True, True, False]
    assert network[3].weight.is_contiguous()
    assert all(torch.equal(layer.weight, weight) for layer, weight in zip(network, before, strict=True))


def test_outputs_and_gradients_are_the_same_but_for_rounding():
    plain, arranged = make_network(), arrange_for_cpu(make_network())
    image = torch.randn(2, 2, 6, 7, 8)
    outputs = [network(image) for network in (plain, arranged)]
    for output in outputs:
        output.square().mean().backward()
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(plain.parameters(), arranged.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first, second", [(False, True), (True, False)])
def test_states_go_from_one_arrangement_to_the_other(first: bool, second: bool):
    source, target = make_network(), make_network()
    nn.init.ones_(source[0].weight)
    for network, arranged in ((source, first), (target, second)):
        if arranged:
            arrange_for_cpu(network)
    target.load_state_dict(source.state_dict())
    assert is_channels_last(target[0].weight) == second and (target[0].weight == 1).all()
