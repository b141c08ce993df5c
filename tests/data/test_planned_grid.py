"""nnU-Net's preparation against nnunetv2's own fingerprint, planner, preprocessor and export, on real samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import fingerprint
from benchmark.data.fingerprint import FactsTask, Intensities, case_facts
from benchmark.data.geometry import restore_labels
from benchmark.data.nonzero import own_values
from benchmark.data.plan import Plan, make_plan
from benchmark.data.planned_grid import restore_scores
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.datasets import Case
from benchmark.datasets.nnunet_raw import NnUnetRaw
from benchmark.settings import Preparation, Resampling
from tests.data.nnunet_oracle import DRAWN_VOXELS, NAME, Oracle, ask
from tests.data.nnunet_samples import CLASSES, SAMPLES

pytestmark = pytest.mark.real_data
CONFIGURATIONS = {"2d": "planned_in_plane", "3d_fullres": "planned"}


@dataclass
class Sample:
    """A real data set, as nnunetv2 and as our reader see it."""

    oracle: Oracle
    dataset: NnUnetRaw
    cases: list[Case]

    def preparation(self, configuration: str, **changes: object) -> Preparation:
        values = {
            "spacing": CONFIGURATIONS[configuration],
            "orientation": None,
            "crop": "nonzero",
            "normalise": "ct_global" if self.dataset.modality == "CT" else "zscore_planned",
            "resampling": Resampling(rules="2.8"),
            "outside": "ignored",
        }
        return Preparation(**(values | changes))

    def plan(self, preparation: Preparation) -> Plan:
        facts = [case_facts(FactsTask("sample", case, preparation, None, len(self.cases))) for case in self.cases]
        return make_plan(
            facts,
            preparation,
            spatial_dims=self.dataset.spatial_dims,
            channels=len(self.dataset.channels),
            classes=CLASSES[self.name],
        )

    @property
    def name(self) -> str:
        return self.dataset.title

    @property
    def their_statistics(self) -> tuple[Intensities, ...]:
        known = self.oracle.fingerprint["foreground_intensity_properties_per_channel"]
        names = {"minimum": "min", "maximum": "max"}
        fields = Intensities.model_fields
        return tuple(Intensities(**{f: channel[names.get(f, f)] for f in fields}) for channel in known.values())


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request, real_data, tmp_path_factory) -> Iterator[Sample]:
    name = request.param
    folder, made = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}_made")
    with pytest.MonkeyPatch.context() as monkeypatch:
        modality = "CT" if name == "totalseg" else "MR"
        files = SAMPLES[name](real_data, made)
        oracle = ask(folder, files, channel=modality, classes=CLASSES[name], monkeypatch=monkeypatch)
        pictures = name == "endoscopy"
        dataset = NnUnetRaw(
            name="sample",
            title=name,
            licence="",
            homepage="",
            modality=modality,
            spatial_dims=2 if pictures else 3,
            channels=("red", "green", "blue") if pictures else (modality,) * len(files[0][1]),
            label_names=tuple(f"class{number}" for number in range(1, CLASSES[name] + 1)),
            groups={},
        )
        monkeypatch.setattr(fingerprint, "get_dataset", lambda _: dataset)
        monkeypatch.setattr(fingerprint, "DRAWN_VOXELS", DRAWN_VOXELS)
        yield Sample(oracle, dataset, dataset.find_cases(Path(oracle.raw) / NAME))


def configurations(sample: Sample) -> list[str]:
    return [name for name in CONFIGURATIONS if name in sample.oracle.plans["configurations"]]


def test_the_plan_is_that_of_nnunetv2(sample):
    dims = sample.dataset.spatial_dims
    for configuration in configurations(sample):
        theirs = sample.oracle.plans["configurations"][configuration]
        plan = sample.plan(sample.preparation(configuration))
        forward = [int(axis) for axis in sample.oracle.plans["transpose_forward"]]
        whole = sample.oracle.plans["configurations"].get("3d_fullres", {}).get("spacing")
        if whole is None:  # pictures: one slice, 999 mm thick
            assert plan.spacing == tuple(theirs["spacing"]) and plan.slice_axis is None
        else:
            natural = [whole[forward.index(axis)] for axis in range(3)]
            assert plan.spacing == tuple(own_values(natural, dims))
            assert plan.slice_axis == own_values([0, 1, 2], 3)[forward[0]]
        assert plan.mask == any(theirs["use_mask_for_norm"])
    assert plan.mask == (sample.name == "brats")


def test_intensities_are_those_of_nnunetv2(sample):
    if sample.dataset.modality != "CT":
        assert sample.plan(sample.preparation(configurations(sample)[0])).intensities == ()
    plan = sample.plan(sample.preparation(configurations(sample)[0], normalise="ct_global"))
    for ours, theirs in zip(plan.intensities, sample.their_statistics, strict=True):
        exact = {"minimum", "maximum", "percentile_00_5", "percentile_99_5", "median"}
        assert ours.model_dump(include=exact) == theirs.model_dump(include=exact)
        for moment in ("mean", "std"):  # theirs are summed in float32
            assert getattr(ours, moment) == pytest.approx(getattr(theirs, moment), rel=2e-6)


def test_every_voxel_is_that_of_nnunetv2_and_comes_back_as_its_export_does(sample):
    """Image, labels with what lies outside, and predicted scores on the raw grid; 2-D and 3-D."""
    generator = np.random.default_rng(0)
    for configuration in configurations(sample):
        preparation = sample.preparation(configuration)
        plan = sample.plan(preparation)
        same_statistics = plan.model_copy(update={"intensities": sample.their_statistics})
        for case in sample.cases[:3]:
            image, affine = sample.dataset.load_image(case)
            labels = sample.dataset.load_labels(case)[0]
            theirs, their_labels, properties = sample.oracle.preprocess(case.id, configuration)
            theirs, their_labels = sample.oracle.to_ours(theirs), sample.oracle.to_ours(their_labels)
            if sample.dataset.spatial_dims == 2:  # [.., W, H, 1] back to [.., H, W]
                theirs, their_labels = theirs[..., 0].swapaxes(1, 2), their_labels[..., 0].T
            before = image.copy()
            ours, our_labels, grid = to_prepared_grid(
                image, labels, affine, preparation=preparation, plan=same_statistics
            )
            assert np.array_equal(image, before)
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(our_labels, their_labels.astype(np.uint8))  # -1 is stored as 255
            own = to_prepared_grid(image, labels, affine, preparation=preparation, plan=plan)[0]
            np.testing.assert_allclose(own, theirs, atol=2e-5)  # their moments are summed in float32

            meta = {"case": case.id, "shape": list(our_labels.shape), **grid}
            scores = generator.standard_normal((CLASSES[sample.name] + 1, *our_labels.shape)).astype(np.float32)
            held = scores[..., None].swapaxes(1, 2) if our_labels.ndim == 2 else scores
            exported = sample.oracle.export(sample.oracle.to_theirs(held).copy(), properties, configuration)
            expected = exported[0] if our_labels.ndim == 2 else exported.transpose(2, 1, 0)
            np.testing.assert_array_equal(restore_scores(scores, meta), expected)
            assert restore_labels(our_labels, meta).shape == labels.shape


def test_labels_come_back_by_the_nearest_voxel(sample):
    """Labels resampled there and back keep their place: nearly every voxel inside, none outside the non-zero box."""
    for configuration in configurations(sample):
        preparation = sample.preparation(configuration, outside="background")
        plan = sample.plan(preparation)
        case = sample.cases[0]
        (image, affine), labels = sample.dataset.load_image(case), sample.dataset.load_labels(case)[0]
        _, prepared, grid = to_prepared_grid(image, labels, affine, preparation=preparation, plan=plan)
        restored = restore_labels(prepared, {"case": case.id, "shape": list(prepared.shape), **grid})
        both = (restored > 0) & (labels > 0)
        assert 2 * both.sum() / ((restored > 0).sum() + (labels > 0).sum()) > 0.85
        if prepared.shape == tuple(np.subtract(grid["nonzero"]["stop"], grid["nonzero"]["start"])):
            assert np.array_equal(restored, labels)
