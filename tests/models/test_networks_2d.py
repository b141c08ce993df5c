"""SegResNet, and our two-dimensional nnFormer."""

from __future__ import annotations

import json

import pytest
import torch

from benchmark.errors import InputError
from benchmark.models.layers.window_block import CrossBlock
from benchmark.models.registry import build

INPUTS = {"AbdomenMRI": (1, 14, (320, 320)), "Endoscopy": (3, 8, (384, 640)), "Microscopy": (3, 3, (512, 512))}


def count(name: str, dataset: str, **options) -> int:
    in_channels, out_channels, shape = INPUTS[dataset]
    with torch.device("meta"):
        model = build(name, in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, **options)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parity
@pytest.mark.parametrize("dataset", INPUTS)
def test_counts_of_segresnet(reference, dataset):
    facts = json.loads(reference("models/segresnet_2d.json").read_text())
    assert count("segresnet", dataset) == facts["params_measured"][dataset]


def test_nnformer_in_two_dimensions_is_not_the_papers_network():
    """114 M parameters where the papers print 60 M; kept as a number so that a change is noticed."""
    counts = [count("nnformer_2d", dataset) for dataset in INPUTS]
    assert counts == [114_194_514, 114_067_200, 113_959_665]


def test_a_cross_block_asks_with_the_upsampled_features_and_answers_with_the_skip():
    torch.manual_seed(0)
    block = CrossBlock(6, 2, window=(1, 2, 2), shift=(0, 0, 0), drop_path=0.0).eval()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    upsampled, skip = torch.randn(1, 4, 4, 6), torch.randn(1, 4, 4, 6)
    found = block(upsampled, skip)[0, 2:, :2].reshape(4, 6)  # the lower left window
    queries, source = (block.norm1(grid)[0, 2:, :2].reshape(4, 6) for grid in (upsampled, skip))
    key, value = block.attn.kv(source).chunk(2, dim=-1)
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        scores = queries[:, part] @ key[:, part].T / 3**0.5
        for i in range(4):
            for j in range(4):
                row = (i // 2 - j // 2 + 1) * 3 + (i % 2 - j % 2 + 1)
                scores[i, j] += block.attn.relative_position_bias_table[row, head]
        heads.append(scores.softmax(-1) @ value[:, part])
    expected = (upsampled + skip)[0, 2:, :2].reshape(4, 6) + block.attn.proj(torch.cat(heads, dim=1))
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_deep_supervision_of_nnformer():
    options = {"width": 8, "heads": (1, 1, 2, 4), "windows": (4, 4, 4, 2)}
    model = build("nnformer_2d", in_channels=1, out_channels=2, spatial_shape=(64, 96), **options)
    assert [level.shape[2:] for level in model(torch.rand(1, 1, 64, 96))] == [(64, 96), (32, 48), (16, 24)]


def test_illegal_options_are_input_errors():
    with pytest.raises(InputError, match="nnformer_2d"):
        build("nnformer_2d", in_channels=1, out_channels=2, spatial_shape=(64, 64), windows=(4, 4))
    with pytest.raises(InputError, match="segresnet"):
        build("segresnet", in_channels=1, out_channels=2, spatial_shape=(64, 64), width=12)
