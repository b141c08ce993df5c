"""Parts of the SAM family on grids that no fixture has: rectangles, windows that do not fit, fusion, frozen parts."""

from __future__ import annotations

import pickle
from fnmatch import fnmatch

import pytest
import torch
from torch import nn

from benchmark.models.layers.sam.adapters import AdapterBlock, ConvolutionAdapter
from benchmark.models.layers.sam.fusion import LayerSum
from benchmark.models.layers.sam.image_encoder import Block, RelativeAttention, in_windows
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.prompted import Masks
from benchmark.models.layers.sam.released import resize_grid, resize_table
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import build, full_resolution, model_entry

FAMILY = ["sam", "medsam", "sam_med2d", "msa", "samed", "samus", "desam", "autosam", "h_sam", "moe_sam"]


def randomise(module: nn.Module) -> nn.Module:
    """Seeded normal numbers in every parameter: tables and updates begin at zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def test_attention_on_a_rectangle_by_hand():
    rows, columns, heads, width = 2, 3, 2, 8
    attention = randomise(RelativeAttention(width, heads, (rows, columns)))
    grid = torch.randn(1, rows, columns, width)
    query, key, value = attention.qkv(grid)[0].chunk(3, dim=-1)
    attended = torch.zeros(rows, columns, width)
    places = [(r, c) for r in range(rows) for c in range(columns)]
    for head in (slice(0, 4), slice(4, 8)):
        for r, c in places:
            q = query[r, c, head]
            scores = torch.stack(
                [
                    q @ key[i, j, head] / 4**0.5
                    + q @ attention.rel_pos_h[r - i + rows - 1]
                    + q @ attention.rel_pos_w[c - j + columns - 1]
                    for i, j in places
                ]
            ).softmax(0)
            attended[r, c, head] = sum(score * value[i, j, head] for score, (i, j) in zip(scores, places, strict=True))
    torch.testing.assert_close(attention(grid)[0], attention.proj(attended), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (6, 4), (2, 9), (3, 3)])
def test_windows_are_cut_and_put_back_where_they_were(shape):
    grid, seen = torch.randn(2, *shape, 3), []

    def look(windows):
        seen.append(windows)
        return 2 * windows

    assert torch.equal(in_windows(look, grid, 3), 2 * grid)
    rows, columns = (-(-side // 3) for side in shape)
    assert seen[0].shape == (2 * rows * columns, 3, 3, 3)
    padded = nn.functional.pad(grid, (0, 0, 0, 3 * columns - shape[1], 0, 3 * rows - shape[0]))
    for number, (row, column) in enumerate((r, c) for r in range(rows) for c in range(columns)):
        expected = padded[1, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert torch.equal(seen[0][rows * columns + number], expected)
    assert torch.equal(in_windows(lambda whole: whole + 1, grid, None), grid + 1)


def test_padding_enters_as_zero_or_as_the_norms_bias():
    """SAM pads after the norm, MSA and MoE-SAM before it; a grid that fills its windows shows no difference."""
    plain, adapted = randomise(Block(8, 2, (4, 4), 3)), randomise(AdapterBlock(8, 2, (4, 4), 3))
    adapted.load_state_dict(plain.state_dict(), strict=False)
    nn.init.zeros_(adapted.Space_Adapter.D_fc2.weight), nn.init.zeros_(adapted.Space_Adapter.D_fc2.bias)
    for side, same in ((3, True), (4, False)):
        grid = torch.randn(1, side, side, 8)
        assert torch.allclose(plain.attended(grid), adapted.attended(grid), atol=1e-5) == same
    tokens = torch.randn(2, 3, 3, 8)
    extra = adapted.transformed(tokens) - adapted.mlp(tokens)
    torch.testing.assert_close(extra, 0.5 * adapted.MLP_Adapter(tokens))


def test_the_convolutional_adapter_by_hand():
    adapter = randomise(ConvolutionAdapter(8))
    grid = torch.randn(1, 4, 6, 8)
    squeezed = (grid.mean((1, 2)) @ adapter.channel[0].weight.T).relu() @ adapter.channel[2].weight.T
    maps = (grid * squeezed.sigmoid()[:, None, None]).permute(0, 3, 1, 2)
    maps = nn.functional.conv2d(maps, adapter.spatial[0].weight, stride=2, padding=1).relu()
    maps = nn.functional.conv_transpose2d(maps, adapter.spatial[2].weight, stride=2, padding=1).relu()
    total = grid + maps.permute(0, 2, 3, 1)
    variance, mean = torch.var_mean(total, -1, keepdim=True, unbiased=False)
    expected = (total - mean) / (variance + 1e-5).sqrt() * adapter.norm.weight + adapter.norm.bias
    torch.testing.assert_close(adapter(grid), expected, rtol=1e-4, atol=1e-5)


def test_the_sum_of_layers_is_added_to_the_embedding():
    options = {"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 96), "size": DEMO_SIZE}
    model, image = build("sam", fusion="add", **options).eval(), torch.rand(1, 1, 64, 96)
    embedding, layers = model.image_encoder(model.prepare(image), range(4))
    assert [tuple(layer.shape) for layer in layers] == [(1, 4, 6, 32)] * 4
    fused = model.fusion.neck(torch.stack(layers).sum(0).permute(0, 3, 1, 2))
    torch.testing.assert_close(model.encode(image).features, embedding + fused)
    kept = model.embed(model.prepare(image), keep=(1, 3)).layers
    assert len(kept) == 2 and torch.equal(kept[1], layers[3])
    mean = LayerSum(sam_size(DEMO_SIZE))
    mean.load_state_dict(model.fusion.state_dict())
    torch.testing.assert_close(mean([layer / 4 for layer in layers]), fused, rtol=1e-3, atol=1e-3)


def test_positions_are_resized_linearly():
    """A plane stays a plane but for the border; corners of a resized grid lie inside by half a pixel."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    table = torch.stack([rows, columns], -1)[None]
    found = resize_grid(table, (4, 16))
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    torch.testing.assert_close(found[0, 0, 1:15, 1], torch.arange(14) / 2 + 0.25)
    offsets = torch.arange(-63, 64.0)[:, None].expand(-1, 3)
    resized = resize_table(offsets, 31)
    torch.testing.assert_close(resized[:, 1], (torch.arange(31) + 0.5) * 127 / 31 - 0.5 - 63)


def test_the_best_mask_has_a_gradient_and_its_choice_has_none():
    logits, quality = torch.randn(2, 3, 4, 4, requires_grad=True), torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.4, 0.3]])
    quality.requires_grad_()
    best = Masks(logits, quality, logits[:, :, ::2, ::2]).best()
    assert torch.equal(best.logits, torch.stack([logits[0, 1:2], logits[1, 0:1]]))
    assert best.low_resolution.shape == (2, 1, 2, 2)
    best.logits.sum().backward(retain_graph=True)
    assert quality.grad is None and logits.grad[0, 1].eq(1).all() and not logits.grad[0, 0].any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sam", {"trained": "all"}),
        ("sam", {"trained": "all_but_prompts", "fusion": "add"}),
        ("sam", {"mask_choice": "best_of_three"}),
        ("medsam", {"trained": "all"}),
        ("sam_med2d", {"fusion": "add"}),
        ("msa", {"mask_choice": "all"}),
        ("samed", {"fusion": "add", "deep_supervision": False}),
        ("samed", {"fusion": "feb"}),
        ("samus", {"train_decoder": False}),
        ("autosam", {"train_decoder": False, "min_max": True}),
        ("h_sam", {"deep_supervision": False, "noise": False}),
        ("moe_sam", {"unused_layers": True, "train_lpeg": False}),
        ("moe_sam", {"tuning": "lora", "lpeg_input": "fused"}),
        ("moe_sam", {"tuning": "lora", "feb": False, "lpeg": False}),
    ],
)
def test_what_is_trained_has_gradients_and_what_has_none_is_declared(name, options):
    model = build(name, in_channels=3, out_channels=4, spatial_shape=(48, 64), **model_entry(name).demo | options)
    full_resolution(model(torch.rand(1, 3, 48, 64))).square().mean().backward()
    unused = {key for key, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert all(any(fnmatch(key, pattern) for pattern in model.unused_parameters) for key in unused)
    assert all(any(fnmatch(key, pattern) for key in unused) for pattern in model.unused_parameters)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen) and bool(frozen) == (options.get("trained") != "all")


def test_positions_are_coded_in_32_bits_under_autocast():
    encoder = PromptEncoder(32, (4, 6), (64, 96))
    points, labels = torch.rand(2, 3, 2) * 64, torch.ones(2, 3)
    expected = encoder.grid_code(), encoder(points, labels).sparse
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.grid_code(), encoder(points, labels).sparse
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    place = torch.tensor([0.3, 0.8]).double()
    angles = 2 * torch.pi * (2 * place - 1) @ encoder.pe_layer.positional_encoding_gaussian_matrix.double()
    by_hand = torch.cat([angles.sin(), angles.cos()]).float()
    torch.testing.assert_close(encoder.pe_layer(place.float()), by_hand, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_pickled_and_in_half_the_bits(name):
    """Coordinates are coded in 32 bits, so that bfloat16 changes logits by its rounding and no more."""
    torch.manual_seed(0)
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96), **model_entry(name).demo}
    model, image = build(name, **options).eval(), torch.rand(2, 1, 60, 90)
    with torch.no_grad():
        expected = full_resolution(model(image))
        assert torch.equal(full_resolution(pickle.loads(pickle.dumps(model))(image)), expected)
        half = full_resolution(model.bfloat16()(image.bfloat16()))
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).norm() < 0.1 * expected.norm()
