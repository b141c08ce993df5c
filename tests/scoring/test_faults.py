"""Inputs of trouble reports, scored: ignore labels, one-slice volumes, sheared grids, names that do not pair."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers.label_files import run, write
from scipy import ndimage
from scipy.spatial import cKDTree

from benchmark.errors import InputError
from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.cases import score_case
from benchmark.scoring.controls import class_prior, write_control
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import check_geometry, find_cases, read_geometry, read_labels
from benchmark.scoring.pairs import pair_cases

AFFINE = np.diag([-1.5, 1.5, 5.0, 1.0])


def labels_file(folder, content):
    (folder / "labels.json").write_text(json.dumps(content))


def scores(folder, *options):
    out = folder / "scores.parquet"
    run(folder, "--out", str(out), "--processes", "1", *options)
    return read_scores(out)


@pytest.fixture
def sparse(tmp_path):
    """Half of the volume is not labelled (2); the prediction goes on into it."""
    reference = np.zeros((20, 20, 10), np.uint8)
    reference[4:12, 4:12, 2:8] = 1
    reference[:, 12:] = 2
    prediction = np.zeros_like(reference)
    prediction[4:12, 5:20, 2:8] = 1
    write(tmp_path / "reference/a.nii.gz", reference, affine=AFFINE)
    write(tmp_path / "prediction/a.nii.gz", prediction, affine=AFFINE)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ({"labels": {"background": 0, "liver": 1, "ignore": 2}}, ()),
        ({"labels": {"0": "background", "1": "liver", "2": "ignore"}}, ()),
        ({"1": "liver"}, ("--ignore-label", "2")),
    ],
)
def test_an_ignore_label_is_left_out_as_nnunet_does(sparse, content, options):
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    paths = [str(sparse / side / "a.nii.gz") for side in ("reference", "prediction")]
    expected = compute_metrics(*paths, SimpleITKIO(), [1], 2)["metrics"][1]
    labels_file(sparse, content)
    frame = scores(sparse, "--convention", "nnunet", *options)
    assert set(frame["class"]) == {"liver"}
    found = frame.set_index("metric")["value"]
    assert found["dsc"] == pytest.approx(expected["Dice"]) == pytest.approx(0.9333333)
    assert found["iou"] == pytest.approx(expected["IoU"])


def test_surfaces_end_where_labels_end(sparse):
    labels_file(sparse, {"labels": {"liver": 1, "ignore": 2}})
    found = scores(sparse, "--convention", "medpy", "--metrics", "hd").set_index("metric")["value"]
    assert found["hd"] == pytest.approx(1.5)  # one voxel short at one side; nothing beyond the labelled half counts


@pytest.mark.parametrize("value", ["1", "7"])
def test_an_ignore_label_that_contradicts_the_file_is_refused(sparse, value):
    labels_file(sparse, {"labels": {"liver": 1, "ignore": 2}})
    with pytest.raises(InputError, match="contradicts"):
        scores(sparse, "--convention", "nnunet", "--ignore-label", value)


def test_controls_know_the_ignore_label(sparse, tmp_path):
    references = find_cases(sparse / "reference").values()
    write_control("oracle", references=references, out=tmp_path / "oracle", labels=(1,), ignore=2)
    reference = read_labels(next(iter(references))).array
    assert np.array_equal(read_labels(tmp_path / "oracle/a.nii.gz").array, reference == 1)
    maps = [np.full((48, 48), value, np.uint8) for value in (2, 2, 1)]
    paths = [write(tmp_path / f"training/{number}.png", array) for number, array in enumerate(maps)]
    assert (class_prior(paths, labels=(1,), ignore=2) == 1).all()  # two that say nothing do not outvote one
    assert not class_prior(paths, labels=(1,)).any()


def plane_pair():
    reference, prediction = np.zeros((2, 60, 70), np.uint8)
    reference[10:40, 12:50], prediction[13:43, 15:50] = 1, 1
    return reference, prediction


def edge_distances(reference, prediction, sides):
    """Both directions of distances between edge pixels, in the unit of the sides; edges of scipy's erosion."""
    points = [np.argwhere(mask ^ ndimage.binary_erosion(mask)) * sides for mask in (reference > 0, prediction > 0)]
    return [cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_an_image_along_any_axis(tmp_path, axis):
    reference, prediction = plane_pair()
    affine = np.diag([*np.insert([0.5, 0.5], axis, 5.0), 1.0])
    for side, plane in (("reference", reference), ("prediction", prediction)):
        write(tmp_path / side / "c.nii.gz", np.expand_dims(plane, axis), affine=affine)
    labels_file(tmp_path, {"1": "liver"})
    found = scores(tmp_path, "--convention", "monai", "--metrics", "hd", "hd95", "assd", "nsd").set_index("metric")
    directions = edge_distances(reference, prediction, 0.5)
    both = np.concatenate(directions)
    expected = {
        "hd": both.max(),
        "hd95": max(np.percentile(values, 95) for values in directions),
        "assd": both.mean(),
        "nsd": (both <= 3).mean(),  # 3 mm: a slice of a volume has millimetres
    }
    assert found["value"].to_dict() == pytest.approx(expected)


def test_tolerances_are_millimetres_for_slices_and_pixels_for_pictures(tmp_path):
    """A square moved by three pixels of 0.9 mm: within 3 mm, beyond 2 pixels."""
    square = np.zeros((60, 60), np.uint8)
    square[10:40, 10:40] = 1
    moved = np.roll(square, 3, 0)
    within = {}
    for name, shape in (("a.nii.gz", (60, 60, 1)), ("b.png", (60, 60))):
        folder = tmp_path / name
        write(folder / "reference" / name, square.reshape(shape), affine=np.diag([0.9, 0.9, 5, 1]))
        write(folder / "prediction" / name, moved.reshape(shape), affine=np.diag([0.9, 0.9, 5, 1]))
        labels_file(folder, {"1": "square"})
        within[name] = scores(folder, "--convention", "canonical", "--metrics", "nsd")["value"].item()
    assert within["a.nii.gz"] == 1.0 and within["b.png"] < 0.6


def test_a_picture_kept_as_nifti_has_pixels(tmp_path):
    """prepare and predict keep pictures as NIfTI with two axes and the identity."""
    plane = np.ones((6, 7), np.uint8)
    assert read_geometry(write(tmp_path / "a.nii.gz", plane, affine=np.eye(4))).is_picture
    assert not read_geometry(write(tmp_path / "b.nii.gz", plane[..., None], affine=np.eye(4))).is_picture
    assert not read_geometry(write(tmp_path / "c.nii.gz", plane, affine=AFFINE)).is_picture


def test_slices_along_different_axes_do_not_fit(tmp_path):
    plane = np.ones((6, 6), np.uint8)
    first = read_geometry(write(tmp_path / "a.nii.gz", plane[None], affine=np.eye(4)))
    second = read_geometry(write(tmp_path / "b.nii.gz", plane[..., None], affine=np.eye(4)))
    with pytest.raises(InputError, match="another shape"):
        check_geometry(first, second, where=tmp_path)


def test_a_slice_among_volumes_leaves_out_conventions_for_volumes(tmp_path, capsys):
    volume = np.zeros((20, 20, 10), np.uint8)
    volume[4:12, 4:12, 2:8] = 1
    for side in ("reference", "prediction"):
        write(tmp_path / side / "a_volume.nii.gz", volume, affine=AFFINE)
        write(tmp_path / side / "b_slice.nii.gz", volume[:, :, 5:6], affine=AFFINE)
    labels_file(tmp_path, {"1": "liver"})
    found = scores(tmp_path, "--convention", "all")
    captured = capsys.readouterr()
    assert "totalsegmentator left out" in captured.err and "b_slice" in captured.err
    assert {"canonical", "umamba_abdomen"} <= set(found["convention"])
    with pytest.raises(InputError, match="b_slice"):
        scores(tmp_path, "--convention", "totalsegmentator")
    for control in ("oracle", "class_prior"):
        references = find_cases(tmp_path / "reference").values()
        write_control(control, references=references, out=tmp_path / control, labels=(1,), training=references)
        assert len(pair_cases(tmp_path / "reference", tmp_path / control)) == 2  # shapes and affines are the files' own


def test_distances_follow_sheared_axes(tmp_path):
    """Against distances between positions in space; 12 % of shear, axes of 1, 1 and 3 mm."""
    affine = np.eye(4)
    affine[:3, 2] = [0.36, 0, 2.978]
    random = np.random.default_rng(0)
    reference = ndimage.gaussian_filter(random.random((18, 17, 12)), 2) > 0.5
    prediction = np.roll(reference, (1, 0, 2), (0, 1, 2))
    maps = [
        read_labels(write(tmp_path / f"{n}.nii.gz", m.astype(np.uint8), affine=affine))
        for n, m in enumerate((reference, prediction))
    ]
    conventions = [get_convention("monai")]
    found = score_case(*maps, labels={1: "liver"}, conventions=conventions, metrics=["hd", "assd", "volume_reference"])
    points = [
        nibabel.affines.apply_affine(affine, np.argwhere(mask ^ ndimage.binary_erosion(mask)))
        for mask in (reference, prediction)
    ]
    distances = np.concatenate([cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]])
    values = {score.metric: score.value for score in found}
    assert values["hd"] == pytest.approx(distances.max(), rel=1e-5)
    assert values["assd"] == pytest.approx(distances.mean(), rel=1e-5)
    assert values["volume_reference"] == pytest.approx(reference.sum() * 2.978, rel=1e-5)


def test_a_shear_of_less_than_a_thousandth_is_none(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 5e-4
    assert read_geometry(write(tmp_path / "a.nii.gz", np.ones((3, 4, 5), np.uint8), affine=affine)).directions is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("case1/case1_seg.nii.gz", "1 folders (case1)"),
        ("case1_seg.nii.gz", "near each other: case1 and case1_seg"),
        ("case1.mgz", "1 files in formats that are not read (case1.mgz)"),
        ("notes.txt", "nothing"),
        ("._case1.nii.gz", "nothing"),
    ],
)
def test_nothing_pairs(tmp_path, name, said):
    write(tmp_path / "reference/case1.nii.gz", np.ones((4, 4, 4), np.uint8))
    path = tmp_path / "prediction" / name
    path.parent.mkdir(parents=True)
    path.write_bytes((tmp_path / "reference/case1.nii.gz").read_bytes())
    with pytest.raises(InputError, match="No prediction has the name") as caught:
        pair_cases(tmp_path / "reference", tmp_path / "prediction")
    assert said in str(caught.value)


def test_what_is_not_read_is_said(tmp_path, capsys):
    for side in ("reference", "prediction"):
        write(tmp_path / side / "a.nii.gz", np.ones((4, 4, 4), np.uint8))
    (tmp_path / "prediction/b.mgz").touch()
    assert len(pair_cases(tmp_path / "reference", tmp_path / "prediction")) == 1
    assert "b.mgz" in capsys.readouterr().err


def test_surplus_predictions_are_said_with_the_nearest_references(tmp_path, capsys):
    for name in ("case1", "case2"):
        write(tmp_path / f"reference/{name}.nii.gz", np.ones((4, 4, 4), np.uint8))
    for name in ("case1", "case2_seg"):
        write(tmp_path / f"prediction/{name}.nii.gz", np.ones((4, 4, 4), np.uint8))
    assert [files.prediction is None for files in pair_cases(tmp_path / "reference", tmp_path / "prediction")] == [
        False,
        True,
    ]
    assert "case2 and case2_seg" in capsys.readouterr().err


def test_names_pair_in_either_unicode_form(tmp_path):
    write(tmp_path / "reference/M\u00fcller.nii.gz", np.ones((4, 4, 4), np.uint8))
    write(tmp_path / "prediction/Mu\u0308ller.nii.gz", np.ones((4, 4, 4), np.uint8))
    (files,) = pair_cases(tmp_path / "reference", tmp_path / "prediction")
    assert files.prediction is not None


def test_scores_as_csv_are_those_of_the_parquet_file(sparse):
    labels_file(sparse, {"1": "liver", "2": "spleen"})
    expected = scores(sparse, "--convention", "monai")
    run(sparse, "--convention", "monai", "--out", str(sparse / "s.csv"), "--processes", "1")
    pd.testing.assert_frame_equal(pd.read_csv(sparse / "s.csv"), expected, check_dtype=False)
    assert expected["value"].isna().any()
    with pytest.raises(InputError, match="Parquet, CSV or JSON"):
        run(sparse, "--convention", "monai", "--out", str(sparse / "s.txt"))


def test_scores_as_json_are_those_of_the_parquet_file(sparse):
    """No value is null; an infinite distance, which JSON has no number for, a text."""
    labels_file(sparse, {"1": "liver", "2": "spleen"})
    expected = scores(sparse, "--convention", "monai")
    run(sparse, "--convention", "monai", "--out", str(sparse / "s.json"), "--processes", "1")
    rows = json.loads((sparse / "s.json").read_text(), parse_constant=pytest.fail)
    assert list(rows[0]) == list(expected.columns) and len(rows) == len(expected)
    found = [float("nan") if row["value"] is None else float(row["value"]) for row in rows]
    np.testing.assert_array_equal(found, expected["value"])


def test_two_voxel_sizes_are_refused_before_any_work(sparse):
    path = sparse / "prediction/a.nii.gz"
    image = nibabel.load(path)
    image.header.set_zooms((1, 1, 1))
    nibabel.Nifti1Image.to_filename(image, sparse / "b.nii.gz")
    (sparse / "b.nii.gz").replace(path)
    labels_file(sparse, {"1": "liver"})
    with pytest.raises(InputError, match="two voxel sizes"):
        scores(sparse, "--convention", "nnunet")
