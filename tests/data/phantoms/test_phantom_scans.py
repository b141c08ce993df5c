"""Phantoms of scans: anatomy in place whatever the axes, contrasts, coronal slices, tumours, hearts that beat."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from benchmark.data.phantoms import Subject, available_phantoms, get_phantom
from benchmark.data.phantoms import acdc as acdc_phantom
from benchmark.data.phantoms.anatomy import read_anatomy
from benchmark.data.phantoms.base import count_splits
from benchmark.data.phantoms.scans import CORONAL, Scans, label_numbers
from benchmark.data.phantoms.volumes import write_volume

ABDOMENS = ("flare22", "btcv", "synapse", "amos_ct", "amos_ct_mri", "abdomen_mri")
SCANS = [name for name in available_phantoms() if isinstance(get_phantom(name), Scans)]


def of_kind(name: str, kind: str, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    phantom = get_phantom(name)
    return phantom.generate(Subject("any", "train", seed, kind), spacing=phantom.spacing)


def centres(name: str, labels: np.ndarray, affine: np.ndarray) -> dict[str, np.ndarray]:
    """Centre of each structure in mm, RAS."""
    places = {structure: np.argwhere(labels == number) for structure, number in get_phantom(name).numbers.items()}
    return {structure: nibabel.affines.apply_affine(affine, found.mean(axis=0)) for structure, found in places.items()}


@pytest.mark.parametrize("name", ABDOMENS)
@pytest.mark.parametrize("plane", ["", CORONAL])
def test_organs_lie_where_they_do_in_people(name, plane):
    contrast = get_phantom(name).scans[0].kind
    image, labels, affine = of_kind(name, contrast + plane)
    assert aff2axcodes(affine) == ("R", "A", "S") and image.shape == labels.shape
    at = centres(name, labels, affine)
    assert at["liver"][0] > at["aorta"][0] > at["spleen"][0] and at["right_kidney"][0] > at["left_kidney"][0]
    assert at["inferior_vena_cava"][0] > at["aorta"][0] and at["gallbladder"][1] > at["right_kidney"][1]
    assert at["right_adrenal_gland"][2] > at["right_kidney"][2]
    if "bladder" in at:
        assert at["bladder"][2] < at["left_kidney"][2] and at["prostate_uterus"][2] < at["bladder"][2]


@pytest.mark.parametrize("name", SCANS)
def test_slices_are_thicker_than_pixels_are_wide(name):
    phantom = get_phantom(name)
    for kind in {scan.kind for scan in phantom.scans}:
        _, _, affine = of_kind(name, kind)
        sides = np.diag(affine)[:3]
        through = 1 if kind.endswith(CORONAL) else 2
        assert np.allclose(np.delete(sides, through), phantom.spacing)
        assert 0.9 <= sides[through] / (phantom.spacing * phantom.slice_ratio) <= 1.1


@pytest.mark.parametrize("name", SCANS)
def test_a_label_file_fits_its_image_along_the_stored_axes(name, tmp_path):
    phantom = get_phantom(name)
    for scan in {scan.axes: scan for scan in phantom.scans}.values():
        phantom.write_subject(tmp_path, 9.0, Subject(scan.id, "train", 5, scan.kind))
        image, labels = (nibabel.load(tmp_path / path) for path in (scan.image, scan.labels))
        assert "".join(aff2axcodes(image.affine)) == scan.axes
        assert image.shape == labels.shape and np.allclose(image.affine, labels.affine)
        expected, _, affine = phantom.generate(Subject(scan.id, "train", 5, scan.kind), spacing=9.0)
        turned = nibabel.as_closest_canonical(image)
        assert np.array_equal(np.asarray(turned.dataobj), expected) and np.allclose(turned.affine, affine, atol=1e-4)


def test_coronal_scans_are_stored_with_the_slices_last():
    for name in ("abdomen_mri", "amos_ct_mri"):
        planes = {scan.axes for scan in get_phantom(name).scans if scan.kind.endswith(CORONAL)}
        assert planes == {"LSP"}
        assert {scan.axes for scan in get_phantom(name).scans if not scan.kind.endswith(CORONAL)} == {"LPS"}


def test_btcv_and_synapse_are_the_same_scans():
    """A case's seed is its place in the list, and the lists have the same files in the same places."""
    btcv, synapse = (get_phantom(name).scans for name in ("btcv", "synapse"))
    assert [scan.image for scan in btcv] == [scan.image for scan in synapse] and len(btcv) == 30
    assert [scan.id[-4:] for scan in btcv] == [scan.id[-4:] for scan in synapse]
    assert {scan.id[:-4] for scan in synapse} == {"case"}
    subjects = get_phantom("abdomen_mri").plan(12) + get_phantom("abdomen_mri").plan(6)
    assert len({(subject.id, subject.seed) for subject in subjects}) == len({subject.id for subject in subjects})


def test_computed_tomography_is_in_hounsfield_units():
    image, labels, _ = of_kind("flare22", "ct")
    numbers = get_phantom("flare22").numbers
    mean = {name: image[labels == number].mean() for name, number in numbers.items()}
    assert image.dtype == np.int16 and image.min() == -1024 and image[0, 0].mean() < -950
    assert 80 < mean["liver"] < 140 and mean["aorta"] > 200 and -40 < mean["gallbladder"] < 40


def test_magnetic_resonance_has_no_unit_and_is_shaded():
    scans = [of_kind("abdomen_mri", "mr", seed) for seed in range(4)]
    liver = get_phantom("abdomen_mri").numbers["liver"]
    means = [image[labels == liver].mean() for image, labels, _ in scans]
    assert max(means) > 1.3 * min(means) and min(image.min() for image, _, _ in scans) >= 0


def test_tumours_lie_in_livers_at_places_of_their_own():
    numbers, places = get_phantom("atlas2023").numbers, []
    for seed in range(6):
        image, labels, affine = of_kind("atlas2023", "ce", seed)
        tumour = np.argwhere(labels == numbers["tumour"])
        low, high = (f(np.argwhere(labels > 0), axis=0) for f in (np.min, np.max))
        assert len(tumour) > 20 and ((tumour >= low) & (tumour <= high)).all()
        assert image[labels == numbers["tumour"]].mean() < 0.8 * image[labels == numbers["liver"]].mean()
        places.append(nibabel.affines.apply_affine(affine, tumour.mean(axis=0)))
    assert np.std(places, axis=0).max() > 8  # mm


@pytest.mark.parametrize("order", ["flare", "amos", "btcv", "atlas"])
def test_numbers_name_structures_of_the_anatomy(order):
    known = {structure.name for structure in read_anatomy("abdomen", "ct").structures} | {"tumour"}
    numbers = label_numbers("abdomen", order)
    assert set(numbers) <= known and sorted(numbers.values()) == list(range(1, len(numbers) + 1))


def test_chambers_lie_where_they_do_in_people():
    image, labels, affine = of_kind("mmwhs", "ct")
    at = centres("mmwhs", labels, affine)
    assert labels.dtype == np.uint16 and set(np.unique(labels)) == {0, 205, 420, 500, 550, 600, 820, 850}
    assert at["right_atrium"][0] > at["left_ventricle"][0] and at["right_ventricle"][1] > at["left_atrium"][1]
    assert at["ascending_aorta"][2] > at["left_ventricle"][2] and at["pulmonary_artery"][2] > at["right_ventricle"][2]
    assert image[labels == 500].mean() > 300 > image[labels == 205].mean()


@pytest.mark.parametrize("group", acdc_phantom.GROUPS)
def test_hearts_beat(group):
    film, labels, _, systole = acdc_phantom.generate(Subject("patient001", "train", 3, group), spacing=2.5)
    assert film.shape == labels.shape and film.shape[-1] == acdc_phantom.FRAMES
    volume = [(labels[..., frame] == acdc_phantom.LEFT).sum() for frame in range(acdc_phantom.FRAMES)]
    assert int(np.argmax(volume)) == 0 and int(np.argmin(volume)) == systole - 1
    ejected = 1 - min(volume) / max(volume)
    assert ejected < 0.4 if group in ("DCM", "MINF") else ejected > 0.4


def test_labelled_frames_are_those_of_the_film(tmp_path):
    phantom = get_phantom("acdc")
    subject = next(subject for subject in phantom.plan(10) if subject.split == "test")
    phantom.write_subject(tmp_path, None, subject)
    folder = tmp_path / "database/testing" / subject.id
    info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text(encoding="utf-8").splitlines())
    film = nibabel.load(folder / f"{subject.id}_4d.nii.gz")
    assert film.shape[-1] == int(info["NbFrame"]) and info["Group"] == subject.kind
    for phase in ("ED", "ES"):
        name = f"{subject.id}_frame{int(info[phase]):02d}"
        frame, labels = nibabel.load(folder / f"{name}.nii.gz"), nibabel.load(folder / f"{name}_gt.nii.gz")
        assert np.array_equal(frame.dataobj, film.dataobj[..., int(info[phase]) - 1])
        assert frame.shape == labels.shape and set(np.unique(labels.dataobj)) == {0, 1, 2, 3}
        assert np.allclose(frame.affine, film.affine)
    assert len(list(folder.iterdir())) == 6


def test_a_volume_is_written_along_the_axes_that_are_asked_for(tmp_path):
    array, affine = np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 3.0, 4.0, 1.0])
    write_volume(tmp_path / "a.nii.gz", array, affine, "ASL")
    stored = nibabel.load(tmp_path / "a.nii.gz")
    assert stored.shape == (3, 4, 2) and np.array_equal(stored.dataobj, array[::-1].transpose(1, 2, 0))
    assert np.allclose(nibabel.affines.apply_affine(stored.affine, (0, 0, 0)), (2, 0, 0))


@pytest.mark.parametrize("subjects", range(3, 40))
def test_splits_share_the_subjects(subjects):
    train, val, test = count_splits(subjects, with_validation=True)
    assert train + val + test == subjects and min(train, val, test) >= 1
    train, val, test = count_splits(subjects, with_validation=False)
    assert val == 0 and train + test == subjects and min(train, test) >= 1
