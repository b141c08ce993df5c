"""Effective receptive fields: by hand for plain convolutions, by finite differences, and for every 2-D network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import convolve2d
from torch import nn

from benchmark import lineage
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import file_digest, read_json, write_json
from benchmark.inference.receptive_field import contributions, measure_run
from benchmark.models.registry import available_models, build, build_for_run, model_entry
from benchmark.models.weights_at_hand import WeightsAtHand, weights_at_hand
from benchmark.settings import RunConfig
from benchmark.version import code_version

# pixels per feature of the deepest encoder level, as each network's paper says (nnU-Net: planned for 128²)
STRIDES = {
    "autosam": 32,
    "desam": 16,
    "h_sam": 16,
    "m4oe": 32,
    "masked_encoder": 32,
    "mednext": 16,
    "medsam": 16,
    "moe_sam": 16,
    "msa": 16,
    "nnformer_2d": 32,
    "nnunet": 32,
    "sam": 16,
    "sam_med2d": 16,
    "samed": 16,
    "samus": 4,
    "segresnet": 8,
    "swin_mae": 32,
    "swin_umamba": 32,
    "swin_umamba_d": 32,
    "swin_unet": 32,
    "swin_unetr": 32,
    "transunet": 16,
    "umamba": 32,
    "unetr": 16,
}
NETWORKS_2D = [name for name in available_models() if 2 in model_entry(name).spatial_dims]
SIDE = 128


def ones(network: nn.Module) -> nn.Module:
    """The network with all weights one and no bias: its gradients count paths."""
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    return network.eval()


def stack(*strides: int, kernel: int = 3) -> nn.Sequential:
    """Plain convolutions of one channel, followed by a place where a decoder would begin."""
    convolutions = [nn.Conv2d(1, 1, kernel, stride, kernel // 2, bias=False) for stride in strides]
    return ones(nn.Sequential(*convolutions, nn.Identity()))


def paths_by_hand(strides: tuple[int, ...], kernel: int = 3) -> np.ndarray:
    """Ways from each input offset to one output: kernels of ones, spread by the strides before them, convolved."""
    paths, spread = np.ones((1, 1)), 1
    for stride in strides:
        side = (kernel - 1) * spread + 1
        one = np.zeros((side, side))
        one[::spread, ::spread] = 1
        paths, spread = convolve2d(paths, one), spread * stride
    return paths


@pytest.mark.parametrize("strides", [(1,), (1, 1, 1), (2, 1, 2), (2, 2, 2), (1, 4, 1)])
def test_a_stack_of_ones_is_counted_exactly_and_is_zero_outside(strides):
    side = 64
    paths = paths_by_hand(strides)
    found = contributions(stack(*strides), torch.ones(2, 1, side, side), decoder=str(len(strides)))
    expected = np.zeros((side, side))
    reach, centre = paths.shape[0] // 2, side // 2  # the central feature lies over the centre: strides divide it
    expected[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1] = paths
    assert found.shape == (2, side, side)
    np.testing.assert_array_equal(found.numpy(), np.stack([expected, expected]))
    assert np.count_nonzero(found[0].numpy()) == np.count_nonzero(paths)


def test_channels_add_up():
    network = ones(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Identity()))
    found = contributions(network, torch.ones(1, 3, 9, 9), decoder="1")[0]
    assert found[3:6, 3:6].eq(15).all() and found.sum() == 9 * 15


def test_it_is_the_gradient_of_the_positive_central_features():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.GELU(), nn.Conv2d(4, 6, 3, padding=1), nn.Identity())
    network = network.double().eval()
    images = torch.randn(1, 2, 8, 6, dtype=torch.float64)

    def centre(values: torch.Tensor) -> float:
        with torch.no_grad():
            return float(network(values)[:, :, 2, 1].clamp(min=0).sum())

    slopes, step = torch.zeros_like(images), 1e-6
    for index in np.ndindex(*images.shape):
        shift = torch.zeros_like(images)
        shift[index] = step
        slopes[index] = (centre(images + shift) - centre(images - shift)) / (2 * step)
    assert slopes.min() < 0 < slopes.max()
    for contribution, expected in (("positive", slopes.clamp(min=0)), ("absolute", slopes.abs())):
        found = contributions(network, images, decoder="3", contribution=contribution)
        torch.testing.assert_close(found, expected.sum(dim=1), atol=1e-8, rtol=1e-6)


def test_layer_normalised_features_do_not_cancel():
    torch.manual_seed(0)
    normalised = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.Identity()).eval()
    assert contributions(normalised, torch.randn(1, 1, 8, 8), decoder="2").max() > 1e-3


def test_every_2d_network_is_known_here():
    assert sorted(STRIDES) == NETWORKS_2D


@pytest.mark.parametrize("name", NETWORKS_2D)
def test_every_2d_network_has_an_encoder_output(name):
    torch.manual_seed(0)
    entry = model_entry(name)
    network = build(name, in_channels=1, out_channels=3, spatial_shape=(SIDE, SIDE), **entry.demo).eval()
    seen = []
    network.get_submodule(entry.decoder).register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0] if isinstance(arguments[0], torch.Tensor) else arguments[0][-1])
    )
    images = torch.randn(1, 1, SIDE, SIDE)
    found = contributions(network, images, decoder=entry.decoder, channels_last=entry.channels_last)
    sides = seen[0].shape[1:3] if entry.channels_last else seen[0].shape[2:]
    assert seen[0].ndim == 4 and tuple(sides) == (SIDE // STRIDES[name],) * 2
    assert found.shape == (1, SIDE, SIDE) and found.isfinite().all() and found.min() == 0 and found.max() > 0


def test_a_wrong_or_idle_place_is_said():
    network = stack(1)
    with pytest.raises(InputError, match="no submodule 'decoder'"):
        contributions(network, torch.ones(1, 1, 4, 4), decoder="decoder")
    network.add_module("idle", nn.Identity())
    network.forward = lambda image: network[0](image)
    with pytest.raises(InputError, match="does not reach its submodule 'idle'"):
        contributions(network, torch.ones(1, 1, 4, 4), decoder="idle")


def config_of(model: str = "segresnet", *, patch=(32, 24), seed: int = 0, **training) -> RunConfig:
    return RunConfig.model_validate(
        {
            "run": f"paper/protocol/{model}/seed{seed}",
            "scale": "demo",
            "dataset": "created",
            "model": {"name": model},
            "preparation": {},
            "training": {
                "patch": patch,
                "batch": 1,
                "epochs": 1,
                "optimiser": {"name": "adamw", "learning_rate": 1e-3},
                "schedule": {"name": "constant"},
                "sampling": {"strategy": "foreground_class", "foreground_fraction": 0.33},
                **training,
            },
            "inference": {"method": "slices"},
            "convention": "canonical",
            "seed": seed,
        }
    )


@pytest.fixture
def measure(tmp_path):
    """Measure a run of two volumes [1, 30, 40, 5] with random weights; returns (map, record)."""
    generator = np.random.default_rng(0)
    cases = {
        name: (generator.normal(size=(1, 30, 40, 5)), generator.integers(0, 3, (30, 40, 5)), {}) for name in ("a", "b")
    }
    store = PreparedStore.create(tmp_path / "store", cases, label_names=["one", "two"])
    out = tmp_path / "receptive_field.npy"

    def start(config: RunConfig, **keywords):
        torch.manual_seed(0)
        trained = tmp_path / "trained.json"
        if len(config.training.patch) == 2 and model_entry(config.model.name).spatial_dims != (3,):
            network = build_for_run(config, in_channels=1, out_channels=3)
            save_file(dict(network.state_dict()), tmp_path / "final.safetensors")
        weights = tmp_path / "final.safetensors"
        made = lineage.trained(config, data={}, begins_from={})
        digest = file_digest(weights) if weights.is_file() else ""
        write_json(trained, {"weights": weights.name, "sha256": digest, "made": made})
        at_hand = weights_at_hand(trained, config) if weights.is_file() else WeightsAtHand(weights, "", "", made)
        split = {"train": ["a"], "val": [], "test": ["a", "b", "absent"]}
        record = measure_run(config, store, split, at_hand, out, device=torch.device("cpu"), **keywords)
        return np.load(out), record

    start.out = out
    return start


def test_a_runs_map_and_its_record(measure):
    field, record = measure(config_of(), samples=5, batch=2)
    assert field.shape == (32, 24) and field.dtype == np.float32 and field.min() >= 0 and field.max() > 0
    assert record == read_json(measure.out.with_suffix(".json"))
    assert (record["samples"], record["cases"], record["contribution"]) == (5, 2, "positive")
    assert record["made"]["options"] == "--samples 5 --contribution positive"
    assert record["code_version"] == code_version()
    assert record["weights_sha256"] == file_digest(measure.out.with_name("final.safetensors"))


def test_the_same_samples_give_the_same_bytes_whatever_the_augmentation(measure):
    measure(config_of(), samples=4)
    first = measure.out.read_bytes()
    augmented = config_of(augmentation=[{"name": "nnunet", "parameters": {}}])
    measure(augmented, samples=4)
    assert measure.out.read_bytes() == first
    other, _ = measure(config_of(seed=1), samples=4)
    assert not np.array_equal(np.load(measure.out), np.frombuffer(first[-other.nbytes :], np.float32))


def test_the_batch_does_not_matter(measure):
    one, _ = measure(config_of(), samples=5, batch=1)
    four, _ = measure(config_of(), samples=5, batch=4)
    np.testing.assert_allclose(one, four, rtol=1e-4, atol=1e-7 * float(one.max()))


def test_absolute_is_never_less(measure):
    positive, _ = measure(config_of(), samples=3)
    absolute, record = measure(config_of(), samples=3, contribution="absolute")
    assert record["contribution"] == "absolute"
    assert (absolute >= positive * (1 - 1e-6)).all() and absolute.sum() > 1.1 * positive.sum()


@pytest.mark.parametrize(
    ("config", "keywords", "message"),
    [
        (config_of("uxnet", patch=(16, 16, 16)), {}, "made of 2-D networks"),
        (config_of("uxnet"), {}, "uxnet does not say where its encoder's output is"),
        (config_of(), {"samples": 0}, "nothing to average"),
    ],
)
def test_what_is_not_defined_is_said(measure, config, keywords, message):
    with pytest.raises(InputError, match=message):
        measure(config, **keywords)
    assert not measure.out.exists()


def test_dead_weights_leave_no_map(measure, monkeypatch):
    from benchmark.inference import receptive_field

    def dead(*_):
        network = build_for_run(config_of(), in_channels=1, out_channels=3)
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network.eval()

    monkeypatch.setattr(receptive_field, "load_network", dead)
    with pytest.raises(InputError, match="nothing contributes"):
        measure(config_of(), samples=2)
    assert not measure.out.exists()
