"""TransUNet: published counts, the released network, and ImageNet weights in JAX's layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.released_facts import assert_parity, read_keys, shapes
from scipy import ndimage

from benchmark.errors import InputError
from benchmark.models.registry import build
from benchmark.models.released import load_released, weight_sources
from benchmark.models.transunet import DEMO

SMALL = {"in_channels": 3, "out_channels": 4} | DEMO


@pytest.mark.parity
def test_counts_and_keys(reference):
    facts = json.loads(reference("models/transunet.json").read_text())["params_measured"]
    with torch.device("meta"):
        synapse = build("transunet", in_channels=1, out_channels=9, spatial_shape=(224, 224))
        mmwhs = build("transunet", in_channels=1, out_channels=8, spatial_shape=(256, 256))
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (synapse, mmwhs)]
    assert counts == [facts["224, 9 classes"], facts["256, 8 classes (MMWHS)"]]
    assert shapes(synapse) == read_keys(reference("models/transunet.keys.json.gz"))


@pytest.mark.parity
def test_the_released_network(parity):
    fixture = parity("transunet")
    model = build("transunet", spatial_shape=(64, 64), **SMALL | {"hidden_size": 24, "mlp_dim": 48})
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


def published(width: int, hidden: int, heads: int, mlp: int, layers: int, side: int) -> dict[str, np.ndarray]:
    """Arrays with the names and layouts of `R50+ViT-B_16.npz`, one unit per stage."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    arrays = {"conv_root/kernel": draw(7, 7, 3, width), "embedding/kernel": draw(1, 1, 16 * width, hidden)}
    arrays |= {"gn_root/scale": draw(1, 1, 1, width), "gn_root/bias": draw(1, 1, 1, width)}
    arrays |= {"embedding/bias": draw(hidden), "cls": draw(1, 1, hidden), "head/kernel": draw(hidden, 5)}
    arrays |= {"pre_logits/bias": draw(hidden), "head/bias": draw(5)}
    arrays["Transformer/posembed_input/pos_embedding"] = draw(1, 1 + side**2, hidden)
    for block, (before, after) in enumerate([(width, 4 * width), (4 * width, 8 * width), (8 * width, 16 * width)], 1):
        unit, middle = f"block{block}/unit1/", after // 4
        kernels = {"conv1": (1, before, middle), "conv2": (3, middle, middle), "conv3": (1, middle, after)}
        for name, (k, fan_in, fan_out) in (kernels | {"conv_proj": (1, before, after)}).items():
            arrays[f"{unit}{name}/kernel"] = draw(k, k, fan_in, fan_out)
        for name, channels in (("gn1", middle), ("gn2", middle), ("gn3", after), ("gn_proj", after)):
            arrays |= {f"{unit}{name}/scale": draw(1, 1, 1, channels), f"{unit}{name}/bias": draw(1, 1, 1, channels)}
    for layer in range(layers):
        prefix = f"Transformer/encoderblock_{layer}/"
        for name in ("query", "key", "value"):
            arrays[f"{prefix}MultiHeadDotProductAttention_1/{name}/kernel"] = draw(hidden, heads, hidden // heads)
            arrays[f"{prefix}MultiHeadDotProductAttention_1/{name}/bias"] = draw(heads, hidden // heads)
        arrays[f"{prefix}MultiHeadDotProductAttention_1/out/kernel"] = draw(heads, hidden // heads, hidden)
        arrays[f"{prefix}MultiHeadDotProductAttention_1/out/bias"] = draw(hidden)
        arrays |= {
            f"{prefix}MlpBlock_3/Dense_0/kernel": draw(hidden, mlp),
            f"{prefix}MlpBlock_3/Dense_0/bias": draw(mlp),
        }
        arrays |= {f"{prefix}MlpBlock_3/Dense_1/kernel": draw(mlp, hidden)}
        arrays |= {f"{prefix}MlpBlock_3/Dense_1/bias": draw(hidden)}
        for name in ("LayerNorm_0", "LayerNorm_2"):
            arrays |= {f"{prefix}{name}/{part}": draw(hidden) for part in ("scale", "bias")}
    return arrays | {f"Transformer/encoder_norm/{part}": draw(hidden) for part in ("scale", "bias")}


def test_imagenet_weights_in_jax_layout(tmp_path):
    sizes = {"hidden": DEMO["hidden_size"], "heads": DEMO["num_heads"], "mlp": DEMO["mlp_dim"]}
    arrays = published(width=32, layers=2, side=3, **sizes)
    path = tmp_path / "R50+ViT-B_16.npz"
    np.savez(path, **arrays)
    model = build("transunet", spatial_shape=(64, 96), **SMALL).eval()
    report = load_released(model, path, allow_partial=weight_sources()["vit_r50_b16_imagenet21k"].partial)
    assert (report.unexpected, report.mismatched) == ((), ())
    assert len(report.loaded) == len(arrays) - 4  # all but the classifier
    # Numerically, as JAX would apply its arrays.
    attention = model.transformer.encoder.layer[1].attn
    prefix = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    tokens = torch.randn(5, sizes["hidden"])
    expected = torch.einsum("tc,chd->thd", tokens, torch.from_numpy(arrays[f"{prefix}/key/kernel"]))
    expected = expected + torch.from_numpy(arrays[f"{prefix}/key/bias"])
    torch.testing.assert_close(attention.key(tokens), expected.flatten(1), rtol=1e-4, atol=1e-4)
    split = tokens.unflatten(1, (sizes["heads"], -1))
    expected = torch.einsum("thd,hdc->tc", split, torch.from_numpy(arrays[f"{prefix}/out/kernel"]))
    expected = expected + torch.from_numpy(arrays[f"{prefix}/out/bias"])
    torch.testing.assert_close(attention.out(tokens), expected, rtol=1e-4, atol=1e-4)
    kernel = model.transformer.embeddings.hybrid_model.body.block2.unit1.conv2.weight
    assert kernel[3, 5, 0, 2] == arrays["block2/unit1/conv2/kernel"][0, 2, 5, 3]
    table = arrays["Transformer/posembed_input/pos_embedding"][0, 1:].reshape(3, 3, -1)
    resized = ndimage.zoom(table, (4 / 3, 6 / 3, 1), order=1).reshape(24, -1)
    found = model.transformer.embeddings.position_embeddings[0].detach().numpy()
    np.testing.assert_allclose(found, resized, rtol=1e-4, atol=1e-5)


def test_the_position_table_fixes_the_size():
    model = build("transunet", spatial_shape=(64, 96), **SMALL).eval()
    assert model(torch.rand(2, 3, 50, 90)).shape == (2, 4, 50, 90)
    with pytest.raises(ValueError, match="larger"):
        model(torch.rand(2, 3, 96, 96))


@pytest.mark.parametrize("options", [{"in_channels": 2}, {"num_heads": 5}, {"layers": (1, 1)}])
def test_illegal_options_are_input_errors(options):
    with pytest.raises(InputError, match="transunet"):
        build("transunet", spatial_shape=(64, 64), **SMALL | options)
