"""SS2D, VSS blocks and the Mamba and Vim mixers against the released layers."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import assert_parity, read_keys

from benchmark.models.layers.mamba import Mamba
from benchmark.models.layers.ss2d import SS2D, cross_merge, cross_scan
from benchmark.models.layers.vss import VSSBlock
from benchmark.models.layers.vss_weights import vmamba_to_encoder
from benchmark.models.umamba import MambaLayer

LAYERS = {
    "ss2d": lambda: SS2D(12, state=5),
    "ss2d_default": lambda: SS2D(16),
    "vss_block": lambda: VSSBlock(16, drop_path=0.1, eps=1e-6),
    "mamba_block": lambda: Mamba(16),
    "umamba_mamba_layer": lambda: MambaLayer(16),
    "vim_mixer_v2": lambda: Mamba(16, bidirectional=True),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_a_released_layer(parity, name):
    fixture = parity(name)
    layer = LAYERS[name]()
    layer.load_state_dict(fixture["state_dict"])
    assert_parity(layer, fixture)


@pytest.mark.parity
def test_a_vim_block_is_a_vss_block_with_the_vim_mixer(parity):
    """Vim carries the residual beside the features and adds it one block later; the sums are the same."""
    fixture = parity("vim_block_ln")
    block = VSSBlock(16, mixer="vim").eval()
    names = {"norm.": "ln_1.", "mixer.": "self_attention.mixer."}
    state = {}
    for key, value in fixture["state_dict"].items():
        prefix = next(name for name in names if key.startswith(name))
        state[names[prefix] + key.removeprefix(prefix)] = value
    block.load_state_dict(state)
    features, residual = fixture["output"]
    carried = fixture["input"] + fixture["residual"]
    torch.testing.assert_close(carried, residual)
    found = block(carried[:, None])[:, 0]  # tokens as a grid of one row
    torch.testing.assert_close(found, residual + features, rtol=1e-5, atol=1e-5)


def test_the_four_sequences_of_a_map():
    grid = torch.arange(6.0).view(1, 1, 2, 3)
    rows, columns = [0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]
    assert cross_scan(grid)[0, :, 0].tolist() == [rows, columns, rows[::-1], columns[::-1]]
    assert torch.equal(cross_merge(cross_scan(grid), 2, 3), 4 * grid)


def test_a_row_of_a_map_mixed_by_mamba_does_not_see_what_follows():
    torch.manual_seed(0)
    mixer = VSSBlock(8, mixer="mamba").eval()
    grid = torch.randn(1, 4, 4, 8)
    changed = grid.clone()
    changed[:, 2:] = torch.randn(1, 2, 4, 8)
    found, other = mixer(grid), mixer(changed)
    assert torch.equal(found[:, :2], other[:, :2])
    two_ways = VSSBlock(8, mixer="vim").eval()
    assert (two_ways(grid)[:, :2] != two_ways(changed)[:, :2]).any()


def test_time_steps_start_between_a_thousandth_and_a_tenth():
    torch.manual_seed(0)
    steps = torch.nn.functional.softplus(SS2D(64).dt_projs_bias)
    assert steps.min() >= 0.99e-3
    assert 0.08 < steps.max() <= 0.101
    assert SS2D(64).A_logs[0].exp().tolist() == pytest.approx(list(range(1, 17)))


@pytest.mark.parity
def test_both_naming_schemes_of_vmamba_give_the_encoders_keys(reference):
    first = read_keys(reference("models/vmamba_tiny_v0.keys.json.gz"))
    later = {
        key.replace("patch_embed.proj", "patch_embed.0")
        .replace("patch_embed.norm", "patch_embed.2")
        .replace(".ln_1.", ".norm.")
        .replace(".self_attention.", ".op."): shape
        for key, shape in first.items()
        if not key.startswith(("norm.", "head."))
    } | {"classifier.norm.weight": [768], "classifier.head.weight": [1000, 768]}
    expected = vmamba_to_encoder(first)
    assert vmamba_to_encoder(later) == expected
    assert len(expected) == len(first) - 4
    assert all(not key.startswith(("norm", "head", "classifier")) for key in expected)
