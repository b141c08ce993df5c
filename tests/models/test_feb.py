"""MoE-SAM's feature enhancing block: the released routing and outputs, capacity, and what competes with what."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmark.models.layers.sam.feb import ExpertChoice, FeatureEnhancing
from benchmark.models.layers.sam.sizes import SIZES, SamSize

FIXTURE = SamSize(48, 4, 4, (1, 3), channels=32)
TINY = SamSize(8, 3, 2, (2,), channels=6)


def enhancing(fixture) -> FeatureEnhancing:
    block = FeatureEnhancing(FIXTURE, heads=4, top_k=128, routing_at_test="batch").eval()
    block.load_state_dict(fixture["state_dict"])
    return block


@pytest.mark.parity
def test_the_released_block(parity):
    fixture = parity("moe_feb")
    block = enhancing(fixture)
    maps = fixture["input"]["features_BLHWC"].clone().requires_grad_()
    output = block(maps.unbind(1))
    expected = fixture["output"]
    torch.testing.assert_close(output, expected["out"], rtol=0, atol=1e-5)
    output.square().mean().backward()
    assert maps.grad.norm().item() == pytest.approx(fixture["grad_norm"], rel=1e-4)
    with torch.no_grad():
        tokens = maps.flatten(1, 3)
        torch.testing.assert_close(block.mix(tokens).view_as(expected["moe_tokens"]), expected["moe_tokens"])
        indices, gates = block.ExpertChoiceTokenMoE.route(tokens.flatten(0, 1)[None], images=2)
    assert [set(row) for row in indices[0].tolist()] == [set(row) for row in expected["selected_indices"].tolist()]
    spread = torch.zeros_like(expected["gates"]).scatter(1, indices[0], gates[0])
    torch.testing.assert_close(spread, expected["gates"])


@pytest.mark.parity
def test_the_released_block_with_its_noise(parity):
    fixture = parity("moe_feb")
    block = enhancing(fixture)
    maps, draw = fixture["input"]["features_BLHWC"], fixture["input"]["noise_E_by_tokens"].T[None]
    with torch.no_grad():
        output = block(maps.unbind(1), draw)
        indices, _ = block.ExpertChoiceTokenMoE.route(maps.flatten(0, 3)[None], 2, draw)
    torch.testing.assert_close(output, fixture["output"]["out_with_noise"], rtol=0, atol=1e-5)
    expected = fixture["output"]["selected_indices_with_noise"]
    assert [set(row) for row in indices[0].tolist()] == [set(row) for row in expected.tolist()]


def test_experts_choose_weigh_and_add_as_written_out():
    torch.manual_seed(0)
    layer = ExpertChoice(6, experts=3, hidden=5, top_k=4).eval()
    tokens = torch.randn(1, 10, 6)
    expected = tokens[0].clone()
    for number, expert in enumerate(layer.experts):
        logits = layer.router.topkroute_linear(tokens[0])[:, number]
        chosen = logits.argsort(descending=True)[:4]
        gates = logits[chosen].exp() / logits[chosen].exp().sum()
        for row, gate in zip(chosen, gates, strict=True):
            expected[row] += gate * expert(tokens[0, row])
    torch.testing.assert_close(layer(tokens)[0], expected)


@pytest.mark.parametrize(
    ("options", "tokens", "images", "expected"),
    [
        ({}, 8 * 12 * 196, 8, 9408),  # the release at 224 pixels: half of all tokens
        ({}, 8 * 12 * 256, 8, 9408),  # and at 256: 38.3 %
        ({"top_k_batch": 8}, 8 * 12 * 256, 8, 9408),
        ({"top_k_batch": 1}, 8 * 12 * 256, 8, 1176),  # its validation script: 4.8 %
        ({"top_k_batch": 8}, 3 * 12 * 256, 3, 9216),  # where the release stops: more than there are
        ({"top_k": 0.5}, 8 * 12 * 256, 8, 12288),  # the paper
        ({"top_k": 1.0}, 100, 1, 100),
        ({"top_k": 0.001}, 100, 1, 1),
        ({"top_k": 1}, 100, 2, 2),
        ({}, 12 * 16, 1, 192),  # 64 pixels: fewer tokens than 1176
    ],
)
def test_tokens_per_expert(options, tokens, images, expected):
    assert ExpertChoice(4, **options).tokens_per_expert(tokens, images) == expected


@pytest.mark.parametrize("top_k", [0, -1, 1.5, 0.0])
def test_an_illegal_capacity_is_refused(top_k):
    with pytest.raises(ValueError, match="top_k"):
        ExpertChoice(4, top_k=top_k)


def test_noise_is_drawn_in_training_and_at_test_only_where_asked_for():
    torch.manual_seed(0)
    tokens = torch.randn(1, 64, 8)
    still, noisy = (ExpertChoice(8, top_k=8, noise_at_test=noise, dropout=0).eval() for noise in (False, True))
    assert torch.equal(still(tokens), still(tokens))
    assert not torch.equal(noisy(tokens), noisy(tokens))
    assert not torch.equal(still.train()(tokens), still(tokens))


def test_the_noise_is_the_draw_times_softplus():
    torch.manual_seed(0)
    router = ExpertChoice(8).router
    tokens, draw = torch.randn(2, 5, 8), torch.randn(2, 5, 4)
    scale = functional.softplus(router.noise_linear(tokens))
    torch.testing.assert_close(router(tokens, draw), router.topkroute_linear(tokens) + draw * scale)


def test_images_compete_in_training_and_at_test_only_where_asked_for():
    torch.manual_seed(0)
    maps = [torch.randn(3, 4, 4, 8) for _ in range(5)]
    apart, together = (FeatureEnhancing(TINY, heads=2, top_k=20, routing_at_test=mode) for mode in ("image", "batch"))
    together.load_state_dict(apart.state_dict())
    alone = [features[1:2] for features in maps]
    with torch.no_grad():
        torch.testing.assert_close(apart.eval()(maps)[1:2], apart(alone))
        assert (together.eval()(maps)[1:2] - together(alone)).abs().max() > 1e-4
        for block in (apart, together):
            for expert in block.train().ExpertChoiceTokenMoE.experts:
                expert.eval()  # no dropout
        draw = torch.zeros(1, 3 * 5 * 16, 4)
        assert torch.equal(apart(maps, draw), together(maps, draw))


def test_gates_keep_single_precision_in_half():
    block = FeatureEnhancing(TINY, heads=2, top_k=0.5).bfloat16()
    maps = [torch.randn(2, 4, 4, 8, dtype=torch.bfloat16) for _ in range(3)]
    assert block(maps).dtype == torch.bfloat16
    _, gates = block.ExpertChoiceTokenMoE.route(maps[0].flatten(1, 2), 1)
    assert gates.dtype == torch.float32
    torch.testing.assert_close(gates.sum(2), torch.ones(2, 4))
    with torch.autocast("cpu", torch.bfloat16):
        _, gates = block.float().ExpertChoiceTokenMoE.route(maps[0].float().flatten(1, 2), 1)
    assert gates.dtype == torch.float32


def test_counts_of_the_release():
    with torch.device("meta"):
        used, released = (FeatureEnhancing(SIZES["vit_b"], unused_layers=unused) for unused in (False, True))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in released.named_children()}
    assert counts == {
        "neck5": 787_456,
        "ExpertChoiceTokenMoE": 18_895_880,
        "moe_encoder": 74_016,
        "attn": 2_362_368,
        "norm": 1_536,
    }
    assert sum(p.numel() for p in used.parameters()) == 22_045_704


def test_an_unknown_routing_is_refused():
    with pytest.raises(ValueError, match="routing_at_test"):
        FeatureEnhancing(TINY, routing_at_test="none")
