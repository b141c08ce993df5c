"""DoDNet and Liu's in M4oE's tables: their repositories' crops, augmentation and post-processing, and that they run."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.catalog import load_catalog
from benchmark.data.augmentation import build_steps
from benchmark.data.batchgenerators_augmentation import Batchgenerators
from benchmark.settings import RunConfig, Training

DODNET = ("flare22", "atlas2023", "amos_ct", "amos_ct_mri")
# shared/reference/protocols/m4oe_baselines.md: shares of samples, in the releases' order
STEPS = {
    "dodnet": {"noise": 0.1, "blur": 0.2, "multiplied_brightness": 0.15, "added_brightness": 0.15, "contrast": 0.15,
               "low_resolution": 0.25, "gamma": 0.15},
    "liu": {"noise": 0.1, "blur": 0.2, "multiplied_brightness": 0.15, "added_brightness": 0.15, "contrast": 0.15,
            "low_resolution": 0.25, "inverted gamma": 0.1, "gamma": 0.3},
}  # fmt: skip
HALF_OF_THE_CHANNELS = {"blur", "added_brightness", "low_resolution"}


@pytest.fixture(scope="module")
def runs() -> dict[str, RunConfig]:
    catalog = load_catalog()
    names = [f"{dataset}-dodnet/dodnet" for dataset in DODNET] + ["flare22-liu/liu", "flare22-liu_coarse/liu-coarse"]
    return {name.split("/")[0]: catalog.run(f"m4oe/{name}/seed0") for name in names}


def transforms(training: Training) -> Batchgenerators:
    return next(
        step for step in build_steps(training.augmentation, patch=training.patch) if isinstance(step, Batchgenerators)
    )


@pytest.mark.parametrize("name", [*(f"{dataset}-dodnet" for dataset in DODNET), "flare22-liu", "flare22-liu_coarse"])
def test_intensities_change_as_in_the_releases(runs, name):
    step = transforms(runs[name].training)
    liu = "liu" in name
    listed = [one for one in step.transforms if one.name != "in_plane"]
    shares = {("inverted " if getattr(one, "inverted", False) else "") + one.name: one.probability for one in listed}
    assert list(shares.items()) == list(STEPS["liu" if liu else "dodnet"].items()) and len(shares) == len(listed)
    for one in listed:
        if one.name != "noise":
            assert one.channel_probability == (0.5 if one.name in HALF_OF_THE_CHANNELS else 1.0)
    by_name = {one.name: one for one in listed}
    assert by_name["noise"].deviation == (0, 0.1) and by_name["blur"].width == (0.5, 1)
    assert by_name["multiplied_brightness"].factor == (0.75, 1.25) and by_name["low_resolution"].scale == (0.5, 1)
    assert (by_name["added_brightness"].mean, by_name["added_brightness"].deviation) == (0, 0.1)
    assert {one.exponent for one in listed if one.name == "gamma"} == {(0.7, 1.5)}
    assert step.slices == (2 if liu else None) and by_name["low_resolution"].kept_axes == ((0,) if liu else ())


@pytest.mark.parametrize("name", ["flare22-liu", "flare22-liu_coarse"])
def test_lius_moves_in_the_plane_and_is_not_mirrored(runs, name):
    training = runs[name].training
    first, *others = transforms(training).transforms
    assert first.name == "in_plane" and "in_plane" not in {one.name for one in others}
    assert (first.elastic_probability, first.displacement, first.smoothness) == (0.2, (0, 200), (9, 13))
    assert (first.rotation_probability, first.degrees) == (0.2, 180)
    assert (first.scaling_probability, first.scale) == (0.2, (0.85, 1.25))
    assert [step.name for step in training.augmentation] == ["batchgenerators"]
    assert training.sampling.slice_range == runs[name].inference.slice_range == "zscore"
    assert (training.sampling.resize.image, runs[name].inference.resize.image) == ("cubic", "linear")


@pytest.mark.parametrize("dataset", DODNET)
def test_dodnets_patches_and_what_is_dropped(runs, dataset):
    config = runs[f"{dataset}-dodnet"]
    sampling = config.training.sampling
    assert (sampling.strategy, sampling.box_margin, sampling.foreground_fraction) == ("label_box", 32, 0.8)
    scaled, mirrored, _ = build_steps(config.training.augmentation, patch=config.training.patch)
    assert (scaled.label, scaled.probability, scaled.minimum, scaled.maximum) == ("scaled_crop", 0.2, 0.7, 1.4)
    assert (mirrored.label, mirrored.probability, mirrored.axes) == ("flip", 0.5, (0, 1, 2))
    tumour = dataset == "atlas2023"
    assert config.inference.keep_largest == (("liver",) if tumour else "all")
    assert config.inference.drop_up_to == ({"tumour": 50} if tumour else {})
    computed_tomography = dataset in ("flare22", "amos_ct")
    assert config.preparation.normalise == ("symmetric" if computed_tomography else "zscore")


@pytest.mark.parametrize("name", ["flare22-dodnet", "flare22-liu"])
def test_augmentation_runs_on_a_patch(runs, name):
    """In small form: every draw of 40 samples, finite and of the patch's size."""
    patch, changed = (24, 20, 16), 0
    image = np.random.default_rng(0).normal(size=(1, *patch)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 4, patch).astype(np.uint8)
    steps = build_steps(runs[name].training.augmentation, patch=patch)
    for seed in range(40):
        generator, size = np.random.default_rng(seed), patch
        for step in steps:
            size = step.read_size(size, generator)
        missing = [(0, max(large - side, 0)) for large, side in zip(size, patch, strict=True)]
        box = tuple(slice(0, side) for side in size)
        out, marks = np.pad(image, [(0, 0), *missing])[(slice(None), *box)], np.pad(labels, missing)[box]
        for step in steps:
            out, marks = step.apply(out, marks, patch, generator)
        assert out.shape == (1, *patch) and out.dtype == np.float32 and np.isfinite(out).all()
        assert marks.shape == patch and marks.dtype == np.uint8 and marks.max() <= 3
        changed += not np.array_equal(out, image)
    assert changed > 20
