from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, relative_difference, shapes

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.layers.windows import (
    WindowAttention,
    attend_in_windows,
    from_windows,
    relative_index,
    shift_mask,
    to_windows,
)


def options_of(kwargs):
    """Our options for the constructor arguments of the released class."""
    return {
        "in_channels": kwargs["input_channels"],
        "out_channels": kwargs["num_classes"],
        "spatial_shape": kwargs["crop_size"],
        "width": kwargs["embedding_dim"],
        "depths": kwargs["depths"],
        "heads": kwargs["num_heads"],
        "windows": kwargs["window_size"],
        "deep_supervision": kwargs["deep_supervision"],
        "variant": "synapse" if list(kwargs["patch_size"]) == [2, 4, 4] else "tumor",
    }


def test_counts_and_keys_equal_the_release(reference):
    configurations = json.loads(reference("models/nnformer.json").read_text())["configurations"]
    keys = read_keys(reference("models/nnformer.keys.json.gz"))
    assert len(configurations) == 6 and len(keys) == 3
    for label, facts in configurations.items():
        with torch.device("meta"):
            model = build("nnformer", **options_of(facts["kwargs"]))
        assert_counts(model, facts)
        assert sum(buffer.numel() for buffer in model.buffers()) == facts["int_buffer_elements"]
        if label in keys:
            assert shapes(model) == keys[label]


@pytest.mark.parity
@pytest.mark.parametrize("name", ["nnformer", "nnformer3d"])
def test_parity_with_the_released_network(name, parity):
    fixture = parity(name)
    model = build("nnformer", **options_of(fixture["config"].get("kwargs", fixture["config"])))
    indices = {key for key in model.state_dict() if key.endswith("relative_position_index")}
    missing, unexpected = model.load_state_dict(fixture["state_dict"], strict=False)
    assert not unexpected and set(missing) == set(fixture.get("omitted_buffers", {})) <= indices
    for key, facts in fixture.get("omitted_buffers", {}).items():
        assert list(model.state_dict()[key].shape) == facts["shape"]
        assert model.state_dict()[key].sum().item() == facts["sum"]
    assert_parity(model, fixture)


def test_windows_and_masks_by_hand():
    grid = torch.arange(2 * 4 * 2 * 2).view(1, 4, 2, 2, 2)
    windows = to_windows(grid, (2, 2, 2))
    assert windows.shape == (1, 2, 8, 2) and torch.equal(windows[0, 1, 0], grid[0, 2, 0, 0])
    assert torch.equal(from_windows(windows, (2, 2, 2), (4, 2, 2)), grid)
    mask = shift_mask((4, 1, 1), (2, 1, 1), (1, 0, 0), torch.zeros(1))
    assert mask.tolist() == [[[0, 0], [0, 0]], [[0, -100], [-100, 0]]]  # only the wrapped window mixes regions


def by_token(attention, grid, window, shift):
    """`attend_in_windows` in words: every token of the padded grid asks those of its window, each pair by itself."""
    shape = grid.shape[1:4]
    sides = [-(-side // length) * length for side, length in zip(shape, window, strict=True)]
    padded = torch.zeros(*sides, grid.shape[-1])
    padded[: shape[0], : shape[1], : shape[2]] = grid[0]
    query, key, value = attention.qkv(padded).unflatten(-1, (3, attention.heads, -1)).unbind(-3)

    def place(token):  # where the cyclic shift puts it: its window, its place inside, its stretch between the cuts
        moved = [(x - s) % n for x, s, n in zip(token, shift, sides, strict=True)]
        stretch = [(r >= n - w) + (r >= n - s) for r, n, w, s in zip(moved, sides, window, shift, strict=True)]
        pairs = list(zip(moved, window, strict=True))
        return [r // w for r, w in pairs], [r % w for r, w in pairs], stretch

    places = {token: place(token) for token in product(*map(range, sides))}
    rows, attended = [2 * w - 1 for w in window], torch.zeros(*shape, grid.shape[-1])
    for token in product(*map(range, shape)):
        own, inside, stretch = places[token]
        others = [other for other, (theirs, _, _) in places.items() if theirs == own]
        scores = []
        for other in others:
            offset = [a - b + w - 1 for a, b, w in zip(inside, places[other][1], window, strict=True)]
            bias = attention.relative_position_bias_table[(offset[0] * rows[1] + offset[1]) * rows[2] + offset[2]]
            blocked = 0.0 if places[other][2] == stretch else -100.0
            scores.append((query[token] * key[other]).sum(-1) * query.shape[-1] ** -0.5 + bias + blocked)
        weights = torch.stack(scores).softmax(0)
        attended[token] = attention.proj(
            (weights[..., None] * torch.stack([value[o] for o in others])).sum(0).flatten()
        )
    return attended[None]


@pytest.mark.parametrize(
    ("shape", "window", "shift"),
    [((4, 4, 4), (2, 2, 2), (0, 0, 0)), ((5, 3, 4), (2, 2, 3), (0, 0, 0)), ((5, 3, 4), (2, 2, 3), (1, 1, 1))],
    ids=["fits", "padded", "padded and shifted"],
)
def test_attention_in_windows_token_by_token(shape, window, shift):
    """Padding, zeros behind the norm, takes part as released; only shifted windows mask anything."""
    torch.manual_seed(0)
    attention = WindowAttention(6, 2, window)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    grid = torch.randn(1, *shape, 6)
    found = attend_in_windows(attention, grid, window, shift)
    torch.testing.assert_close(found, by_token(attention, grid, window, shift), rtol=1e-4, atol=1e-5)


def test_relative_index_written_and_released():
    index = relative_index((2, 2, 2))
    assert index[0, 0] == 13 and index[0, 7] == 0 and index[7, 0] == 26  # centre, first and last of 27 rows
    assert len(index.unique()) == 27
    assert len(relative_index((4, 4, 4)).unique()) == 343
    assert len(relative_index((4, 4, 4), (11, 7, 1)).unique()) < 343  # the released factors merge rows


def small(**options):
    torch.manual_seed(0)
    options = {"width": 8, "heads": (1, 2, 2, 4)} | options
    spatial_shape = options.pop("spatial_shape", (32, 64, 64))
    return build("nnformer", in_channels=1, out_channels=2, spatial_shape=spatial_shape, **options).eval()


def test_the_index_variants_differ_and_share_weights():
    image = torch.randn(1, 1, 32, 64, 64)
    released, written = small(), small(relative_index="as_written")
    for (key, left), right in zip(released.named_parameters(), written.parameters(), strict=True):
        assert torch.equal(left, right), key
    with torch.no_grad():
        for model in (released, written):
            for key, parameter in model.named_parameters():
                if key.endswith("table"):
                    parameter.mul_(50)
        assert relative_difference(released(image), written(image)) > 1e-4


def test_other_inputs_than_the_crop():
    levels = small(deep_supervision=True)(torch.randn(1, 1, 20, 70, 33))
    assert [tuple(level.shape[2:]) for level in levels] == [(20, 70, 33), (10, 35, 17), (5, 18, 9)]


@pytest.mark.parametrize(
    "options", [{"variant": "acdc"}, {"heads": (3, 3, 3, 3)}, {"depths": (2, 2)}, {"relative_index": "x"}], ids=str
)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="nnformer cannot be built"):
        small(**options)
