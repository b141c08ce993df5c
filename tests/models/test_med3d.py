from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_checksums, assert_counts, assert_parity, fill_by_recipe, read_keys, shapes
from monai.networks.nets import resnet18, resnet50

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.released import load_released


def meta(kwargs):
    with torch.device("meta"):
        return build(
            "med3d",
            in_channels=1,
            out_channels=kwargs["num_seg_classes"],
            spatial_shape=(56, 448, 448),
            depth=kwargs["depth"],
            shortcut=kwargs["shortcut_type"],
        )


def test_counts_and_keys_equal_the_release(reference):
    configurations = json.loads(reference("models/med3d.json").read_text())["configurations"]
    keys = read_keys(reference("models/med3d.keys.json.gz"))
    assert len(configurations) == 7 and len(keys) == 2
    for label, facts in configurations.items():
        model = meta(facts["kwargs"])
        assert_counts(model, facts)
        backbone = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("conv_seg")}
        assert sum(tensor.numel() for tensor in backbone.values()) == facts["backbone_only_state_dict_elements"]
        if label in keys:
            assert shapes(model) == keys[label]


@pytest.mark.parity
def test_parity_with_the_released_network_through_its_recipe(parity):
    fixture = parity("med3d_resnet10B")
    options = {"depth": 10, "shortcut": "B", "upsample": False}
    model = build("med3d", in_channels=1, out_channels=3, spatial_shape=(48,) * 3, **options)
    model.load_state_dict(fill_by_recipe(model.state_dict(), fixture["weights_gain"]))
    assert_checksums(model.state_dict(), fixture["state_dict_checksums"])
    assert_parity(model, fixture)


@pytest.mark.parametrize(("depth", "shortcut", "monai"), [(18, "A", resnet18), (50, "B", resnet50)], ids=["18A", "50B"])
def test_the_stages_before_the_dilations_are_monais(depth, shortcut, monai):
    """The backbones have the same keys; only from the third stage on do MONAI's stride where these dilate."""
    torch.manual_seed(0)
    ours = build("med3d", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, depth=depth, shortcut=shortcut).eval()
    other = monai(
        n_input_channels=1, shortcut_type=shortcut, bias_downsample=False, feed_forward=False, conv1_t_stride=2
    ).eval()
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    backbone = {key: value for key, value in ours.state_dict().items() if not key.startswith("conv_seg")}
    other.load_state_dict(backbone, strict=True)
    features = image = torch.randn(1, 1, 32, 32, 32)
    for part in (other.conv1, other.bn1, torch.nn.functional.relu, other.maxpool, other.layer1, other.layer2):
        features = part(features)
    found = []
    ours.layer2[-1].register_forward_hook(lambda module, inputs, output: found.append(output))
    with torch.no_grad():
        ours(image)
    torch.testing.assert_close(found[0], features)


def small(**options):
    torch.manual_seed(0)
    options = {"depth": 10, "width": 8} | options
    return build("med3d", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, **options).eval()


def test_backbone_weights_load_without_a_head(tmp_path):
    """The published files hold the backbone alone, under DataParallel's prefix."""
    state = {f"module.{k}": v for k, v in small().state_dict().items() if not k.startswith("conv_seg")}
    torch.save({"state_dict": state, "optimizer": {}}, tmp_path / "resnet_10.pth")
    with pytest.raises(InputError, match=r"missing: conv_seg"):
        load_released(small(), tmp_path / "resnet_10.pth")
    report = load_released(small(), tmp_path / "resnet_10.pth", allow_partial=["conv_seg.*"])
    assert len(report.loaded) == len(state) and all(key.startswith("conv_seg") for key in report.missing)


def test_shortcut_a_passes_values_and_only_as_written_gradients():
    gradients = []
    for detach in (True, False):
        model = small(depth=18, shortcut="A", detach_shortcut=detach)
        block = model.layer2[0]
        for convolution in (block.conv1, block.conv2):
            torch.nn.init.zeros_(convolution.weight)  # leaves the shortcut alone
        features = torch.rand(1, 8, 6, 6, 6, requires_grad=True)
        output = block(features)
        assert torch.equal(output[:, :8], features[:, :, ::2, ::2, ::2]) and not output[:, 8:].any()
        if output.requires_grad:
            output.sum().backward()
        gradients.append(0.0 if features.grad is None else features.grad.abs().sum().item())
    assert gradients == [0.0, 8 * 27.0]


def test_any_size_at_full_and_at_quarter_resolution():
    assert small()(torch.zeros(1, 1, 33, 20, 40)).shape == (1, 2, 33, 20, 40)
    assert small(upsample=False)(torch.zeros(1, 1, 32, 24, 40)).shape == (1, 2, 8, 6, 10)


@pytest.mark.parametrize("options", [{"depth": 11}, {"shortcut": "C"}], ids=str)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="med3d cannot be built"):
        small(**options)
