"""Real references against copies with planted errors whose scores can be worked out by counting."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from benchmark.scoring.cases import score_case
from benchmark.scoring.controls import write_control
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap, find_cases, read_labels
from benchmark.scoring.instances import count_matches

pytestmark = pytest.mark.real_data
WANTED = ("kidney_left", "kidney_right", "spleen", "liver", "aorta", "vertebrae_L1", "vertebrae_L2", "stomach")


@pytest.fixture(scope="module")
def torso(real_data) -> tuple[LabelMap, dict[int, str]]:
    """Subject s9001 of the TotalSegmentator sample as one label map (3 mm) with the classes that it shows."""
    folder = real_data("TotalSegmentator_v2_sample") / "s9001" / "segmentations"
    labels, merged = {}, None
    for value, path in enumerate(sorted(folder.glob("*.nii.gz")), start=1):
        image = nib.load(path)
        mask = np.asanyarray(image.dataobj) > 0
        merged = np.zeros(mask.shape, np.uint8) if merged is None else merged
        if mask.any():
            merged[mask] = value
            labels[value] = path.name.removesuffix(".nii.gz")
    return LabelMap(merged, Geometry(merged.shape, tuple(map(float, image.header.get_zooms())))), labels


def value_of(labels: dict[int, str], name: str) -> int:
    return next(value for value, other in labels.items() if other == name)


def scores_of(reference, array, labels, convention="canonical", metrics=("dsc", "iou", "nsd", "hd", "hd95", "assd")):
    prediction = LabelMap(np.ascontiguousarray(array), reference.geometry)
    chosen = get_convention(convention)
    metrics = [metric for metric in metrics if metric in chosen.rules]
    scores = score_case(reference, prediction, labels=labels, conventions=[chosen], metrics=metrics)
    return {(score.class_name, score.metric): (score.value, score.status) for score in scores}


def test_the_reference_itself_is_perfect(torso):
    reference, labels = torso
    assert len(labels) == 61
    perfect = {"dsc": 1.0, "iou": 1.0, "nsd": 1.0, "hd": 0.0, "hd95": 0.0, "assd": 0.0}
    for (name, metric), score in scores_of(reference, reference.array, labels).items():
        assert score == (perfect[metric], "ok"), (name, metric)


def test_a_shift_moves_every_surface_by_its_length(torso):
    reference, labels = torso
    padded = LabelMap(np.pad(reference.array, 3), Geometry((128, 107, 118), reference.geometry.spacing))
    shifted = np.roll(padded.array, 2, axis=1)
    for definition in ("canonical", "monai"):
        scores = scores_of(padded, shifted, labels, convention=definition)
        assert {value for (_, metric), (value, _) in scores.items() if metric == "hd"} == {6.0}
        assert all(value <= 6.0 for (_, metric), (value, _) in scores.items() if metric in ("hd95", "assd"))
        wide = [value for (_, metric), (value, _) in scores.items() if metric == "nsd"]
        assert max(wide) < 1.0  # tolerance 3 mm
    mask = padded.array == value_of(labels, "liver")
    expected = 2 * (mask[:, 2:] & mask[:, :-2]).sum() / (2 * mask.sum())
    assert scores["liver", "dsc"][0] == pytest.approx(expected)


def test_erosion_scores_by_its_volumes(torso):
    reference, labels = torso
    eroded = reference.array.copy()
    volumes = {}
    for value, name in labels.items():
        mask = reference.array == value
        core = ndimage.binary_erosion(mask)
        eroded[mask & ~core] = 0
        volumes[name] = int(mask.sum()), int(core.sum())
    scores = scores_of(reference, eroded, labels, metrics=("dsc", "iou"))
    for name, (whole, core) in volumes.items():
        assert scores[name, "dsc"][0] == pytest.approx(2 * core / (whole + core))
        assert scores[name, "iou"][0] == pytest.approx(core / whole)


def test_swapped_kidneys_and_merged_vertebrae(torso):
    reference, labels = torso
    left, right = value_of(labels, "kidney_left"), value_of(labels, "kidney_right")
    first, second = value_of(labels, "vertebrae_L1"), value_of(labels, "vertebrae_L2")
    table = np.arange(256, dtype=np.uint8)
    table[[left, right, second]] = right, left, first
    scores = scores_of(reference, table[reference.array], labels, metrics=("dsc",))
    sizes = np.bincount(reference.array.ravel(), minlength=256)
    assert scores["kidney_left", "dsc"] == scores["kidney_right", "dsc"] == (0.0, "ok")
    merged = 2 * sizes[first] / (sizes[first] + sizes[first] + sizes[second])
    assert scores["vertebrae_L1", "dsc"][0] == pytest.approx(merged)
    assert scores["vertebrae_L2", "dsc"] == (0.0, "empty_prediction")
    assert scores["spleen", "dsc"] == (1.0, "ok")


def test_missed_and_invented_organs_by_convention(torso):
    reference, labels = torso
    names = {value: name for value, name in labels.items() if name in WANTED} | {200: "invented"}
    array = np.where(reference.array == value_of(labels, "spleen"), 0, reference.array).astype(np.uint8)
    array[0, 0, 0] = 200
    expected = {"canonical": 0, "transunet": 1, "esam": 0, "totalsegmentator": None, "medpy": 0}
    for convention, invented in expected.items():
        scores = scores_of(reference, array, names, convention=convention, metrics=("dsc",))
        assert scores["spleen", "dsc"] == (0.0, "empty_prediction")
        value = scores["invented", "dsc"][0]
        assert np.isnan(value) if invented is None else value == invented
    distances = scores_of(reference, array, names, convention="esam", metrics=("hd95",))
    assert distances["spleen", "hd95"] == (0.0, "empty_prediction")  # as good as the untouched liver
    assert distances["liver", "hd95"] == (0.0, "ok")


def test_acdc_with_planted_errors(real_data):
    labels = {1: "RV", 2: "MYO", 3: "LV"}
    paths = sorted((real_data("ACDC") / "database" / "training").glob("*/*_gt.nii.gz"))
    assert len(paths) == 40
    for path in paths[::8]:
        reference = read_labels(path)
        assert reference.geometry.spacing[2] >= 5.0
        cut = reference.array.copy()
        cut[:, :, -2:] = 0  # the last two slices are not segmented
        cut[cut == 1] = 0  # the right ventricle is missed
        scores = scores_of(reference, cut, labels, metrics=("dsc", "hd"))
        for value, name in ((2, "MYO"), (3, "LV")):
            whole, kept = (int((side == value).sum()) for side in (reference.array, cut))
            assert scores[name, "dsc"][0] == pytest.approx(2 * kept / (whole + kept))
            lost = (reference.array[:, :, -2:] == value).any(axis=(0, 1)).sum()
            assert scores[name, "hd"][0] >= lost * reference.geometry.spacing[2] - 1e-4
        assert scores["RV", "dsc"] == (0.0, "empty_prediction")
        assert scores["RV", "hd"] == (400.0, "empty_prediction")


def nuclei(real_data) -> list[Path]:
    return sorted((real_data("DSB2018_CellSegLayout") / "Tuning" / "labels").glob("*_label.tiff"))


def test_dsb2018_with_planted_errors(real_data):
    for path in nuclei(real_data)[:6]:
        instances = read_labels(path).array
        ids = np.unique(instances[instances > 0])
        dropped, merged = ids[::3], ids[1:3]
        prediction = np.where(np.isin(instances, dropped), 0, instances)
        counts = count_matches(instances, prediction, threshold=0.5)
        assert (counts.reference, counts.prediction) == (len(ids), len(ids) - len(dropped))
        assert counts.matched == len(ids) - len(dropped)
        prediction = np.where(instances == merged[1], merged[0], instances)
        sizes = [(instances == value).sum() for value in merged]
        survives = max(sizes) / sum(sizes) >= 0.5  # the merged pair still covers its larger half
        counts = count_matches(instances, prediction, threshold=0.5)
        assert (counts.prediction, counts.matched) == (len(ids) - 1, len(ids) - 2 + int(survives))


def test_the_instance_oracle_on_real_nuclei(real_data, tmp_path):
    """Three classes cannot hold every nucleus: where all pixels are rim, even the oracle misses it."""
    paths = nuclei(real_data)[:6]
    write_control("oracle", references=paths, out=tmp_path, labels=(1, 2), instances=True)
    for path in paths:
        reference = read_labels(path)
        encoded = read_labels(next(p for case, p in find_cases(tmp_path).items() if path.name.startswith(case)))
        scores = score_case(
            reference, encoded, labels={1: "cell"}, conventions=[get_convention("canonical")], metrics=["f1", "recall"]
        )
        found = {score.metric: score.value for score in scores}
        assert 0.9 < found["f1"] <= 1.0
        assert found["f1@0.75"] <= found["f1"]
