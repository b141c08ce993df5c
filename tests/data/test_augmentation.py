from __future__ import annotations

import numpy as np
import pytest
import torch
from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy
from batchgenerators.augmentations.utils import (
    create_zero_centered_coordinate_mesh,
    interpolate_img,
    rotate_coords_2d,
)
from scipy.ndimage import map_coordinates

from benchmark.data.augmentation import STEPS, build_steps
from benchmark.data.cubic_transforms import CubicLowResolutionTransform, CubicSpatialTransform, voxel_positions
from benchmark.errors import InputError
from benchmark.settings import Step

PATCH = (6, 6, 4)


def apply(name: str, seed: int = 0, **parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator, draws = np.random.default_rng(100 + seed), np.random.default_rng(seed)
    image, labels = generator.random((2, *PATCH), dtype=np.float32), generator.integers(0, 9, PATCH).astype(np.uint8)
    (step,) = build_steps([Step(name=name, parameters=parameters)], patch=PATCH)
    read = step.read_size(PATCH, draws)
    padding = [(0, max(large - size, 0)) for large, size in zip(read, PATCH, strict=True)]
    box = tuple(slice(0, size) for size in read)
    given = np.pad(image, [(0, 0), *padding])[(slice(None), *box)], np.pad(labels, padding)[box]
    out = step.apply(*given, PATCH, draws)
    return image, labels, *out


@pytest.mark.parametrize("name", sorted(name for name in STEPS if not STEPS[name].needs_whole))
@pytest.mark.parametrize("seed", range(3))
def test_every_step_keeps_shape_and_type_and_repeats_itself(name, seed):
    parameters = {"probability": 1.0} if "probability" in STEPS[name].model_fields else {}
    _, labels, image, classes = apply(name, seed, **parameters)
    assert image.shape == (2, *PATCH) and image.dtype == np.float32
    assert classes.shape == PATCH and classes.dtype == np.uint8
    assert set(np.unique(classes)) <= set(np.unique(labels)) | {0}
    _, _, again, classes_again = apply(name, seed, **parameters)
    assert np.array_equal(image, again) and np.array_equal(classes, classes_again)


@pytest.mark.parametrize("name", sorted(name for name in STEPS if "probability" in STEPS[name].model_fields))
def test_probability_zero_changes_nothing(name):
    image, labels, out, classes = apply(name, probability=0.0)
    assert np.array_equal(image, out) and np.array_equal(labels, classes)


def test_rotate90_turns_image_and_labels_alike_and_uses_all_turns():
    seen = set()
    for seed in range(40):
        image, labels, out, classes = apply("rotate90", seed, probability=1.0)
        turns = [k for k in (1, 2, 3) if np.array_equal(out[0], np.rot90(image[0], k, (0, 1)))]
        assert len(turns) == 1 and np.array_equal(classes, np.rot90(labels, turns[0], (0, 1)))
        seen.add(turns[0])
    assert seen == {1, 2, 3}


def test_flip_mirrors_image_and_labels_alike():
    for seed in range(20):
        image, labels, out, classes = apply("flip", seed, probability=0.5)
        axes = [
            axes
            for axes in [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
            if np.array_equal(out[1], np.flip(image[1], axes))
        ]
        assert len(axes) == 1 and np.array_equal(classes, np.flip(labels, axes[0]))


@pytest.mark.parametrize(
    ("name", "parameters", "change"),
    [
        ("shift_intensity", {"offset": 0.1}, lambda before, after: after - before),
        ("scale_intensity", {"factor": 0.1}, lambda before, after: after / before - 1),
    ],
)
def test_intensity_changes_by_one_number_in_range(name, parameters, change):
    values = []
    for seed in range(200):
        image, labels, out, classes = apply(name, seed, probability=1.0, **parameters)
        difference = change(image, out)
        assert np.ptp(difference) < 1e-3 and np.array_equal(labels, classes)
        values.append(difference.mean())
    assert -0.1 <= min(values) < -0.08 and 0.08 < max(values) <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (Step(name="rotate", parameters={}), "rotate90"),
        (Step(name="zoom", parameters={"probabilty": 0.3}), "probabilty"),
        (Step(name="zoom", parameters={"minimum": 0.5}), "minimum"),
        (Step(name="zoom", parameters={"minimum": 1.6, "maximum": 1.2}), "1.6"),
        (Step(name="shift_intensity", parameters={"probability": 2}), "probability"),
        (Step(name="rotate90", parameters={"axes": [0, 2]}), r"\(6, 6, 4\)"),
        (Step(name="scaled_crop", parameters={"minimum": 1.5}), "1.5"),
        (Step(name="batchgenerators", parameters={"transforms": [{"name": "in_plane"}]}), "3 axes"),
        (Step(name="batchgenerators", parameters={"transforms": [{"name": "gama"}]}), "gama"),
        (Step(name="batchgenerators", parameters={"transforms": [{"name": "gamma", "exponent": [0.5, 0.7]}]}), "0.7"),
        (Step(name="batchgenerators", parameters={"transforms": [{"name": "noise", "deviation": [1, 0]}]}), "1.0"),
        (
            Step(name="batchgenerators", parameters={"transforms": [{"name": "low_resolution", "kept_axes": [3]}]}),
            r"\(3,\)",
        ),
    ],
)
def test_a_wrong_name_or_parameter_is_named(step, named):
    with pytest.raises(InputError, match=named):
        build_steps([step], patch=PATCH)


@pytest.mark.parametrize("patch", [(24, 24, 24), (8, 32, 32), (32, 32)])
def test_nnunet_step_is_that_of_nnunet(patch):
    """Same transforms in the same order, with the same parameters, as nnUNetTrainer builds; the blur's timing apart."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from benchmark.data import nnunet_augmentation

    slicewise = len(patch) == 3 and patch[0] == 8
    mirror = tuple(range(len(patch)))
    theirs = nnUNetTrainer.get_training_transforms(
        patch, nnunet_augmentation._rotation(patch), None, mirror, slicewise, use_mask_for_norm=None
    )
    described = [describe(transform) for transform in theirs.transforms]
    assert [describe(transform) for transform in nnunet_augmentation._transforms(patch, mirror).transforms] == described


def describe(transform) -> tuple:
    """Class and parameters of a transform, without its caches."""
    ignored = {"benchmark", "benchmark_use_fft"}
    values = {name: value for name, value in vars(transform).items() if name not in ignored and "hook" not in name}
    values = {name: vars(value) if hasattr(value, "__dict__") else value for name, value in values.items()}
    inner = values.pop("transform", None)
    return type(transform).__name__, str(values), describe(transform.transform) if inner is not None else None


CUBIC = {"image_order": 3, "low_resolution_order": 3}


@pytest.mark.parametrize("parameters", [{}, CUBIC])
@pytest.mark.parametrize("patch", [(16, 16, 16), (8, 32, 32), (24, 24)])
def test_nnunet_step_keeps_the_global_generators(patch, parameters):
    (step,) = build_steps([Step(name="nnunet", parameters=parameters)], patch=patch)
    read = step.read_size(patch, np.random.default_rng(0))
    assert all(large >= size for large, size in zip(read, patch, strict=True))
    image = np.random.default_rng(0).random((1, *read), dtype=np.float32)
    labels = np.ones(read, np.uint8)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    outputs = [step.apply(image.copy(), labels, patch, np.random.default_rng(seed)) for seed in (3, 3, 4, 5, 6)]
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(outputs[0][0], outputs[1][0])
    assert any(not np.array_equal(outputs[0][0], other[0]) for other in outputs[2:])
    assert all(out.shape == (1, *patch) and classes.shape == patch for out, classes in outputs)


def test_cubic_steps_draw_what_linear_ones_draw():
    """Labels are moved alike, and images are close: only the interpolation is another."""
    linear, cubic = (build_steps([Step(name="nnunet", parameters=p)], patch=(24, 24))[0] for p in ({}, CUBIC))
    read = linear.read_size((24, 24), np.random.default_rng(0))
    rows, columns = np.indices(read)
    image = np.sin(rows / 5)[None].astype(np.float32) + np.cos(columns / 6).astype(np.float32)
    labels = (rows > columns).astype(np.uint8)
    different = 0
    for seed in range(12):
        one, two = (step.apply(image.copy(), labels, (24, 24), np.random.default_rng(seed)) for step in (linear, cubic))
        assert np.array_equal(one[1], two[1])
        different += not np.array_equal(one[0], two[0])
        inside = (one[1] > 0) & (two[0][0] != 0)
        assert np.abs(one[0][0] - two[0][0])[inside].mean() < 0.15
    assert different >= 3


@pytest.mark.parametrize("shape", [(9, 12), (7, 9, 8)])
def test_positions_of_torchs_sampling_grid(shape):
    """With linear interpolation torch and scipy agree at these positions, so they are the same places."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, *shape), generator=generator)
    grid = torch.rand((1, *(5,) * len(shape), len(shape)), generator=generator) * 2.4 - 1.2
    expected = torch.nn.functional.grid_sample(image, grid, align_corners=False, padding_mode="zeros")[0, 0]
    positions = voxel_positions(grid[0].numpy(), shape)
    ours = map_coordinates(image[0, 0].numpy(), positions, order=1, mode="grid-constant")
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(23, 31), (13, 17, 22)])
def test_low_resolution_is_that_of_batchgenerators(shape):
    image = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    options = {"order_downsample": 0, "order_upsample": 3, "p_per_channel": 1}
    expected = augment_linear_downsampling_scipy(image.copy(), zoom_range=(0.6, 0.6), **options)
    transform = CubicLowResolutionTransform((0.6, 0.6), False, True, None, p_per_channel=1)
    ours = transform(image=torch.from_numpy(image.copy()))["image"].numpy()
    np.testing.assert_array_equal(ours, expected)


def test_cubic_rotation_is_that_of_batchgenerators():
    """A quarter turn about the centre, and no turn at all, of an image as large as the patch."""
    image = np.random.default_rng(0).standard_normal((1, 9, 9)).astype(np.float32)
    for angle, turns in ((0.5 * np.pi, 1), (np.pi, 2)):
        transform = CubicSpatialTransform((9, 9), 0, False, p_rotation=1, rotation=(angle, angle))
        out = transform(image=torch.from_numpy(image))["image"].numpy()
        inside = (slice(None), slice(1, -1), slice(1, -1))  # the rim may lie a rounding error outside
        turned = [np.rot90(image, sign * turns, (1, 2)) for sign in (1, -1)]
        assert min(np.abs(out - one)[inside].max() for one in turned) < 1e-3
    angle = 0.3
    transform = CubicSpatialTransform((9, 9), 0, False, p_rotation=1, rotation=(angle, angle))
    out = transform(image=torch.from_numpy(image))["image"].numpy()
    mesh = create_zero_centered_coordinate_mesh((9, 9))
    candidates = [
        interpolate_img(image[0], rotate_coords_2d(mesh, sign * angle) + 4, 3, "constant") for sign in (1, -1)
    ]
    assert min(np.abs(out[0] - one).max() for one in candidates) < 1e-4
