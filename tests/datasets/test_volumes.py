"""Volumes with one label file each: layouts, lists, renumbering and every fault, for all data sets of that kind."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.datasets.base import unknown_values
from benchmark.errors import InputError
from benchmark.settings import Preparation
from tests.datasets.layouts import LAS, NUMBERS, SHAPE, VOLUMES, case_files, raw_values, save, write_layout, write_scan

# Who is in which part of the complete data sets: changing a list changes the hash.
DIGESTS = {"btcv": "4ba609ec0d4e875c", "mmwhs": "f86bf351227c02aa", "synapse": "b2b1f7f673a99bbe"}
SCANS = [*range(1, 11), *range(21, 41)]
RAMP = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
COMPLETE = {"btcv": SCANS, "synapse": SCANS, "mmwhs": range(1001, 1021), "acdc": range(1, 151)}


@pytest.fixture(params=VOLUMES)
def name(request):
    return request.param


@pytest.fixture
def root(name, tmp_path):
    return write_layout(tmp_path, name)


def faults(name: str, root: Path) -> set[tuple[str, str, str]]:
    """(case, file name, problem) of every fault."""
    found = verify(get_dataset(name), root, processes=1)
    return {(fault.case, Path(fault.file).name, fault.problem) for fault in found}


def files_of(name: str, root: Path) -> tuple[str, Path, Path]:
    """(case, image, label) of the scan that trains."""
    image, label = case_files(root, name, NUMBERS["train"][name])
    (case,) = (case.id for case in get_dataset(name).find_cases(root) if case.images[0] == image)
    return case, image, label


def test_a_whole_layout_has_no_fault(name, root):
    dataset = get_dataset(name)
    cases = dataset.find_cases(root)
    assert verify(dataset, root, processes=1) == []
    assert sorted({case.split for case in cases}) == ["test", "train"]
    assert len(cases) == (4 if name == "acdc" else 2) and len({case.patient for case in cases}) == 2
    image, affine = dataset.load_image(cases[0])
    assert image.shape == (1, *SHAPE) and np.array_equal(affine, LAS)


def test_labels_are_renumbered_by_the_facts(name, root):
    """Every raw value of the file, by name: the numbers of the challenges beside ours."""
    dataset = get_dataset(name)
    case = dataset.find_cases(root)[0]
    labels, affine, overlaps = dataset.read_labels(case)
    raw = np.asarray(nibabel.load(case.labels[0]).dataobj)
    assert labels.dtype == np.uint8 and np.array_equal(affine, LAS) and overlaps == 0
    assert set(np.unique(labels)) == set(range(len(dataset.label_names) + 1))
    for value in raw_values(name):
        (number,) = np.unique(labels[raw == value])
        assert number == (dataset.label_values.get(value, 0) if dataset.label_values else value)


def test_labels_stored_as_floating_point_are_the_same(name, root):
    dataset = get_dataset(name)
    case, _, path = files_of(name, root)
    whole = next(c for c in dataset.find_cases(root) if c.id == case)
    expected = dataset.read_labels(whole)[0]
    save(path, np.asarray(nibabel.load(path).dataobj).astype(np.float32))
    assert np.array_equal(dataset.read_labels(whole)[0], expected) and faults(name, root) == set()


@pytest.mark.parametrize(
    ("value", "problem"),
    [(99, "unknown label value"), (-1, "A label map holds integers"), (1.5, "A label map holds integers")],
)
def test_an_unknown_label_is_refused(name, root, value, problem):
    case, _, path = files_of(name, root)
    labels = np.asarray(nibabel.load(path).dataobj).astype(np.float32)
    labels[0, 0, 0] = value
    save(path, labels)
    ((found_case, found_file, found),) = faults(name, root)
    assert (found_case, found_file) == (case, path.name) and found.startswith(problem)
    dataset = get_dataset(name)
    with pytest.raises(InputError, match=problem) as error:
        dataset.read_labels(next(c for c in dataset.find_cases(root) if c.id == case))
    assert path.name in str(error.value) and f"{value:g}" in str(error.value)


def test_a_film_given_as_a_volume_is_refused(name, root):
    case, image, _ = files_of(name, root)
    save(image, np.zeros((*SHAPE, 4), np.int16))
    assert faults(name, root) == {(case, image.name, "not 3-D")}
    dataset = get_dataset(name)
    with pytest.raises(InputError, match="not one 3-D image") as error:
        dataset.load_image(next(c for c in dataset.find_cases(root) if c.id == case))
    assert image.name in str(error.value) and "film" in str(error.value)


def test_a_film_of_labels_is_refused(name, root):
    case, _, path = files_of(name, root)
    save(path, np.ones((*SHAPE, 4), np.uint8))
    assert (case, path.name, "shape differs") in faults(name, root)
    dataset = get_dataset(name)
    with pytest.raises(InputError, match="not a volume"):
        dataset.read_labels(next(c for c in dataset.find_cases(root) if c.id == case))


def test_a_missing_label_is_a_fault(name, root):
    case, image, path = files_of(name, root)
    path.unlink()
    assert faults(name, root) == {(case, image.parent.name, "no label file")}
    dataset = get_dataset(name)
    with pytest.raises(InputError, match="no label file"):
        dataset.read_labels(next(c for c in dataset.find_cases(root) if c.id == case))


def test_a_missing_image_is_a_fault(name, root):
    case, image, path = files_of(name, root)
    image.unlink()
    expected = {(case, path.name, "label without an image")}
    if name == "acdc":
        expected.add((case, "Info.cfg", "frame of Info.cfg is not there"))
    assert faults(name, root) == expected


def test_two_files_of_one_case_are_a_fault(name, root):
    case, image, _ = files_of(name, root)
    other = image.with_name(image.name.removesuffix(".gz"))
    save(other, RAMP)
    assert {(c, problem) for c, _, problem in faults(name, root)} == {(case, "second file of a case")}


def test_hidden_files_of_macos_are_not_cases(name, root):
    for path in case_files(root, name, NUMBERS["train"][name]):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert faults(name, root) == set()


@pytest.mark.parametrize(("change", "problem"), [("shape", "shape differs"), ("affine", "affine differs")])
def test_another_geometry_of_the_labels_is_refused(name, root, change, problem, tmp_path):
    case, _, path = files_of(name, root)
    labels = np.asarray(nibabel.load(path).dataobj)
    save(path, labels[:, :, :-1] if change == "shape" else labels, LAS if change == "shape" else np.eye(4))
    assert faults(name, root) == {(case, path.name, problem)}
    dataset = get_dataset(name)
    split = make_split(dataset, dataset.find_cases(root), kind="local")
    with pytest.raises(InputError, match="differ in geometry"):
        prepare(dataset, root, split, Preparation(), out=tmp_path / "store/prepared.json", processes=1)


def test_another_folder_is_refused_with_the_layout(name, tmp_path):
    with pytest.raises(InputError, match="this is not") as error:
        get_dataset(name).find_cases(tmp_path)
    assert get_dataset(name).layout in str(error.value)


@pytest.mark.parametrize("place", ["", "deeper"])
def test_the_folder_may_be_given_where_an_archive_puts_it(name, tmp_path, place):
    """`RawData`, `ct_train` and `training` themselves, or the folder that holds them."""
    write_layout(tmp_path, name)
    inside = {"btcv": "RawData", "synapse": "RawData/Training", "mmwhs": "ct_train", "acdc": ""}[name]
    assert len(get_dataset(name).find_cases(tmp_path / (inside if place else ""))) == (4 if name == "acdc" else 2)


def test_the_complete_data_set_has_the_declared_split(name, tmp_path):
    dataset = get_dataset(name)
    for number in COMPLETE[name]:
        for frame in (1, 12) if name == "acdc" else (1,):
            for path in case_files(tmp_path, name, number, frame):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    cases = dataset.find_cases(tmp_path)
    split = make_split(dataset, cases, kind="download")
    assert {part: len(split[part]) for part in dataset.split_counts} == dict(dataset.split_counts)
    assert split["source"] == dataset.split_source and (name == "acdc") == (split["source"] == "official")
    if name == "acdc":  # its frames differ from patient to patient
        assert {split["patients"][case] for case in split["test"]} == {f"patient{n}" for n in range(101, 151)}
    else:
        assert split["digest"] == DIGESTS[name]


def test_lists_are_the_reference(reference):
    """Ids of the splits, label names and values of the facts that were collected before."""
    facts = {
        name: json.loads(reference(f"datasets/{file}.json").read_text())
        for name, file in (("synapse", "Synapse_multiorgan"), ("btcv", "BTCV"), ("mmwhs", "MMWHS"), ("acdc", "ACDC"))
    }
    synapse, btcv, mmwhs, acdc = (get_dataset(name) for name in ("synapse", "btcv", "mmwhs", "acdc"))
    lists = facts["synapse"]["split"]
    assert set(synapse.train_cases) == {f"case{number}" for number in lists["train18"]}
    assert set(synapse.test_cases) == {f"case{number}" for number in lists["test12"]}
    assert synapse.counts["train_images"] == lists["train_slices_total"]
    lists = facts["btcv"]["split"]["de_facto_MONAI_24_6"]
    assert (list(btcv.train_cases), list(btcv.test_cases)) == (lists["train"], lists["val"])
    assert list(mmwhs.test_cases) == facts["mmwhs"]["split"]["de_facto_16_4"]["ct_test"]
    assert mmwhs.label_values == {int(k): v for k, v in facts["mmwhs"]["labels_moe_sam"].items()}
    lists = facts["acdc"]["split"]["SSL4MIS_70_10_20_of_100"]
    assert dict(acdc.training_alone) == {part: lists[part] for part in ("val", "test")}
    (archive,), published = acdc.archives, facts["acdc"]["downloads"][0]
    assert (archive.url, archive.hash) == (published["url"], f"sha256:{published['sha256']}")


def test_label_names_are_the_reference(reference):
    def names(file: str, key: str) -> list[str]:
        labels = json.loads(reference(f"datasets/{file}.json").read_text())[key]
        return [labels[number].lower().replace(" ", "_") for number in sorted(labels, key=int)]

    assert names("BTCV", "labels") == [*get_dataset("btcv").label_names]
    assert names("Synapse_multiorgan", "labels_transunet_preprocessed") == [*get_dataset("synapse").label_names]
    heart = [name.removeprefix("lv_").removesuffix("_blood") for name in names("MMWHS", "labels_raw")]
    assert heart == [*get_dataset("mmwhs").label_names]
    short = {"rv_cavity": "right_ventricle", "lv_cavity": "left_ventricle"}
    assert [short.get(name, name) for name in names("ACDC", "labels")] == [*get_dataset("acdc").label_names]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_unknown_values_against_a_plain_loop(dtype):
    labels = np.random.default_rng(0).integers(0, 12, (5, 6, 7)).astype(dtype)
    for allowed in (range(12), range(9), [0, 3, 5, 11], [0]):
        expected = sorted({value for value in labels.ravel().tolist() if value not in list(allowed)})[:5]
        assert unknown_values(labels, allowed) == expected
    assert unknown_values(np.zeros((0, 3), dtype), range(3)) == []


def test_a_case_that_no_list_has_is_a_fault(tmp_path):
    write_layout(tmp_path, "btcv", [1, 35])
    write_scan(tmp_path, "btcv", 61, RAMP, np.ones(SHAPE, np.uint8))
    assert faults("btcv", tmp_path) == {("img0061", "img0061.nii.gz", "case in no list")}


def test_files_that_nobody_would_read_are_faults(name, root):
    _, image, _ = files_of(name, root)
    for other in ("stranger.nii.gz", "scan.mha"):
        image.with_name(other).touch()
    assert faults(name, root) == {("", "stranger.nii.gz", "unknown file name"), ("", "scan.mha", "format is not read")}


def test_the_film_of_acdc_is_no_stranger(tmp_path):
    root = write_layout(tmp_path, "acdc")
    _, image, _ = files_of("acdc", root)
    image.with_name("patient001_4d.nii.gz").touch()
    assert faults("acdc", root) == set()
