"""FLARE22, ATLAS 2023 and AMOS22: facts, layouts, declared splits, faults, coronal scans, one shared download."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.data import fetch
from benchmark.data.geometry import restore_labels
from benchmark.data.prepare import prepare
from benchmark.data.source import load_source
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import Archive, Case, get_dataset
from benchmark.datasets.amos22 import modality_of, view
from benchmark.errors import InputError
from benchmark.settings import Preparation

FLARE, ATLAS, CT, BOTH = (get_dataset(name) for name in ("flare22", "atlas2023", "amos_ct", "amos_ct_mri"))
ORGANS = ("liver", "left_kidney", "right_kidney", "gallbladder", "pancreas", "spleen", "stomach")
AXIAL = np.diag([-0.75, -0.75, 5.0, 1.0])
CORONAL = np.array([[-1.25, 0, 0, 50], [0, 0, -3.0, 20], [0, 1.25, 0, -7], [0, 0, 0, 1.0]])  # axes L, S, P

# data set → ((image, label map, case), …), in the published names
FILES = {
    "flare22": [
        ("images/FLARE22_Tr_0001_0000.nii.gz", "labels/FLARE22_Tr_0001.nii.gz", "FLARE22_Tr_0001"),
        ("images/FLARE22_Tr_0004_0000.nii.gz", "labels/FLARE22_Tr_0004.nii.gz", "FLARE22_Tr_0004"),
        ("images/FLARE22_Tr_0009_0000.nii.gz", "labels/FLARE22_Tr_0009.nii.gz", "FLARE22_Tr_0009"),
    ],
    "atlas2023": [
        ("train/imagesTr/im0.nii.gz", "train/labelsTr/lb0.nii.gz", "im0"),
        ("train/imagesTr/im1.nii.gz", "train/labelsTr/lb1.nii.gz", "im1"),
        ("train/imagesTr/im10.nii.gz", "train/labelsTr/lb10.nii.gz", "im10"),
    ],
    "amos_ct_mri": [
        ("imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz", "amos_0001"),
        ("imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz", "amos_0008"),
        ("imagesTr/amos_0025.nii.gz", "labelsTr/amos_0025.nii.gz", "amos_0025"),
        ("imagesTr/amos_0507.nii.gz", "labelsTr/amos_0507.nii.gz", "amos_0507"),
    ],
}
NAMES = sorted(FILES)


def write(root: Path, dataset: str) -> Path:
    """Small volumes in the published layout; amos_0507 was taken coronally."""
    classes = len(get_dataset(dataset).label_names)
    for seed, (image, labels, case) in enumerate(FILES[dataset]):
        generator = np.random.default_rng(seed)
        affine = CORONAL if case == "amos_0507" else AXIAL
        for path, values in ((image, (-1000, 900)), (labels, (0, classes + 1))):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            array = generator.integers(*values, (9, 8, 5)).astype(np.int16)
            nibabel.Nifti1Image(array, affine).to_filename(root / path)
    return root


@pytest.fixture(params=NAMES)
def written(request, tmp_path):
    return get_dataset(request.param), write(tmp_path / "raw", request.param), FILES[request.param]


def by_hash(cases: list[str]) -> dict[str, set[str]]:
    """The rule that the yaml states."""
    ordered = sorted(cases, key=lambda case: hashlib.sha256(case.encode()).hexdigest())
    tested = round(len(cases) / 5)
    validated = round((len(cases) - tested) / 10)
    return {"test": set(ordered[:tested]), "val": set(ordered[tested : tested + validated])}


def published(reference, name: str) -> list[list[str]]:
    """All case ids, by modality."""
    if name == "flare22":
        return [[f"FLARE22_Tr_{number:04d}" for number in range(1, 51)]]
    if name == "atlas2023":
        return [json.loads(reference("datasets/ATLAS2023.json").read_text())["split"]["ids"]]
    parts = json.loads(reference("datasets/AMOS22.json").read_text())["split"]["labelled_public"]
    scans = [parts["CT_train"] + parts["CT_val"], parts["MR_train"] + parts["MR_val"]]
    return scans[:1] if name == "amos_ct" else scans


@pytest.mark.parametrize(("name", "file"), [("flare22", "FLARE22"), ("atlas2023", "ATLAS2023"), ("amos_ct", "AMOS22")])
def test_facts_are_the_reference(reference, name, file):
    facts, dataset = json.loads(reference(f"datasets/{file}.json").read_text()), get_dataset(name)
    spelt = {"gall bladder": "gallbladder", "aorta ('arota' in dataset.json)": "aorta", "tumour": "tumour"}
    spelt |= {"postcava (inferior vena cava)": "inferior_vena_cava", "prostate/uterus": "prostate_uterus"}
    spelt |= {"liver (parenchyma WITHOUT tumour)": "liver"}
    names = [spelt.get(label, label.replace(" ", "_")) for _, label in sorted(facts["labels"].items(), key=number_of)]
    assert names == list(dataset.label_names)
    for archive, download in zip(dataset.archives, facts["downloads"], strict=False):
        assert archive.url.removesuffix("?download=1") == download["url"].removesuffix("?download=1")
        assert (archive.name, archive.hash) == (download["file"], "sha256:" + download["sha256"])
    assert bool(dataset.archives) is ("u-bourgogne" not in facts["home"][0])


def number_of(item: tuple[str, str]) -> int:
    return int(item[0])


def test_classes_are_those_that_the_release_renumbers(parity_around):
    """Where two releases call a class by one common number, we call it by one name."""
    mappings = parity_around("prep_m4oe")["label_mappings"]
    flare, amos = (
        {common: dataset.label_names[int(own) - 1] for own, common in mappings[key].items()}
        for key, dataset in (("flare", FLARE), ("amos", BOTH))
    )
    assert len(flare) == 13 and len(amos) == 15
    assert {common: amos[common] for common in flare} == flare


@pytest.mark.parametrize("dataset", [FLARE, CT, BOTH], ids=lambda dataset: dataset.name)
def test_the_seven_organs(dataset):
    assert {group: names for group, names in dataset.groups.items()} == {organ: (organ,) for organ in ORGANS}


def test_the_heads_of_m4oe():
    assert [len(dataset.label_names) + 1 for dataset in (FLARE, ATLAS, BOTH)] == [14, 3, 16]


@pytest.mark.parametrize("name", ["flare22", "atlas2023", "amos_ct", "amos_ct_mri"])
def test_the_split_is_the_declared_rule(reference, name):
    dataset, modalities = get_dataset(name), published(reference, name)
    for part, cases in (("test", dataset.test_cases), ("val", dataset.val_cases)):
        assert set(cases) == set.union(*(by_hash(ids)[part] for ids in modalities))
    ids = [case for ids in modalities for case in ids]
    cases = [Case(case, case, (Path(case),), (), dataset.declared_part(case)) for case in ids]
    split = make_split(dataset, cases, kind="download")
    assert split["source"] == "declared" and {part: len(split[part]) for part in dataset.split_counts} == dict(
        dataset.split_counts
    )


def test_the_views_agree():
    assert set(CT.test_cases) < set(BOTH.test_cases) and set(CT.val_cases) < set(BOTH.val_cases)
    assert {modality_of(case) for case in CT.test_cases} == {"CT"}
    assert (CT.archives, CT.shared) == (BOTH.archives, BOTH.shared) and CT.labelled == {"CT": 300}
    assert [modality_of(f"amos_0{number}") for number in ("001", "410", "500", "501", "507", "600")] == [
        "CT", "CT", "CT", "MR", "MR", "MR",
    ]  # fmt: skip
    assert view("mri", "MR").split_counts == {"train": 43, "val": 5, "test": 12}


def test_cases_in_the_published_layout(written):
    dataset, root, files = written
    cases = dataset.find_cases(root)
    assert [case.id for case in cases] == [case for _, _, case in files]
    assert {(*case.images, *case.labels) for case in cases} == {(root / i, root / m) for i, m, _ in files}
    assert {case.split for case in cases} == {"train", "val", "test"}
    assert verify(dataset, root, processes=1) == []
    image, _ = dataset.load_image(cases[0])
    labels, affine, overlaps = dataset.read_labels(cases[0])
    assert image.shape == (1, 9, 8, 5) and labels.dtype == np.uint8 and np.array_equal(affine, AXIAL) and not overlaps


def test_the_folder_train_of_atlas_may_be_given_itself(tmp_path):
    write(tmp_path, "atlas2023")
    (tmp_path / "train/dataset.json").write_text('{"labels": {"0": "background", "1": "tumour", "2": "liver"}}')
    for root in (tmp_path, tmp_path / "train"):
        assert [case.id for case in ATLAS.find_cases(root)] == ["im0", "im1", "im10"]
        assert len([f for f in verify(ATLAS, root, processes=1) if f.problem == "another label order"]) == 2


def test_the_view_of_ct_sees_ct_only(tmp_path):
    root = write(tmp_path, "amos_ct_mri")
    assert [case.id for case in CT.find_cases(root)] == ["amos_0001", "amos_0008", "amos_0025"]
    assert verify(CT, root, processes=1) == []  # the label maps of MR are no fault
    assert [case.attributes["modality"] for case in BOTH.find_cases(root)] == ["CT", "CT", "CT", "MR"]


def test_another_layout_is_refused(tmp_path, written):
    dataset, _, _ = written
    for root in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="this is not") as error:
            dataset.find_cases(root)
        assert dataset.layout in str(error.value)


def test_faults_are_named(written):
    dataset, root, files = written
    (image, labels, first), (_, second_labels, second) = files[:2]
    (root / image).rename(root / image.replace("0001", "0077").replace("im0", "im77"))
    array = np.full((9, 8, 5), len(dataset.label_names) + 1, np.int16)
    nibabel.Nifti1Image(array, AXIAL).to_filename(root / second_labels)
    odd = (root / image).with_name("image.nii.gz")
    odd.write_bytes(b"")
    found = {(Path(fault.file).name, fault.problem) for fault in verify(dataset, root, processes=1)}
    assert {
        (Path(labels).name, "label without an image"),
        (Path(second_labels).name, "unknown label value"),
        ("image.nii.gz", "unknown file name"),
    } <= found
    assert "no label file" in {problem for _, problem in found}
    assert first not in {case.id for case in dataset.find_cases(root)} and second


def test_a_case_in_two_parts_is_a_fault(tmp_path):
    root = write(tmp_path, "amos_ct_mri")
    for folder in ("images", "labels"):
        (root / f"{folder}Va/amos_0001.nii.gz").write_bytes((root / f"{folder}Tr/amos_0001.nii.gz").read_bytes())
    problems = {(fault.case, fault.problem) for fault in verify(BOTH, root, processes=1)}
    assert ("amos_0001", "second file of a case") in problems


@pytest.mark.parametrize(("orientation", "prepared"), [("axial", (9, 5, 8)), (None, (9, 8, 5)), ("RAS", (9, 5, 8))])
def test_a_scan_taken_coronally_is_cut_axially(tmp_path, orientation, prepared):
    """Its axes run left, up, back; the prepared ones left, back, up, and the way back ends on the raw grid."""
    root = write(tmp_path / "raw", "amos_ct_mri")
    cases = BOTH.find_cases(root)
    split = make_split(BOTH, cases, kind="local")
    settings = Preparation(orientation=orientation, normalise="none")
    prepare(BOTH, root, split, settings, out=tmp_path / "store/prepared.json", processes=1)
    store = PreparedStore(tmp_path / "store")
    raw = BOTH.load_labels(next(case for case in cases if case.id == "amos_0507"))[0]
    case = store.open("amos_0507")
    labels = np.asarray(case.labels[:])
    assert labels.shape == prepared and store.open("amos_0001").labels.shape == (9, 8, 5)
    if orientation == "axial":
        assert np.array_equal(labels, raw.transpose(0, 2, 1))
        assert case.meta["orientation"] == {"raw": "LSP", "prepared": "LPS"}
        assert case.meta["spacing"] == pytest.approx([1.25, 3.0, 1.25])
    assert np.array_equal(restore_labels(labels, case.meta), raw)
    kept = nibabel.load(tmp_path / "store/references/amos_0507.nii.gz")
    assert np.array_equal(np.asarray(kept.dataobj), raw) and np.array_equal(kept.affine, CORONAL)


TOTALSEGMENTATOR = {  # what its structures are called otherwise
    "left_kidney": "kidney_left",
    "right_kidney": "kidney_right",
    "left_adrenal_gland": "adrenal_gland_left",
    "right_adrenal_gland": "adrenal_gland_right",
    "bladder": "urinary_bladder",
    "prostate_uterus": "prostate",
}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("dataset", "sample", "image", "labels"),
    [
        (FLARE, "TotalSegmentator_v2_sample/s9001/ct", FILES["flare22"][0][0], FILES["flare22"][0][1]),
        (CT, "TotalSegmentator_v2_sample/s9002/ct", FILES["amos_ct_mri"][0][0], FILES["amos_ct_mri"][0][1]),
        (BOTH, "TotalSegmentatorMRI_sample/s9101/mri", FILES["amos_ct_mri"][3][0], FILES["amos_ct_mri"][3][1]),
    ],
    ids=["flare22", "amos_ct", "amos_ct_mri"],
)
def test_real_scans_in_these_layouts(real_data, tmp_path, dataset, sample, image, labels):
    """Organs of real scans, numbered as each data set does, verified, and as large after reading as before."""
    source = real_data(f"{sample}.nii.gz")
    scan = nibabel.load(source)
    merged, voxels = np.zeros(scan.shape, np.uint8), {}
    for name, number in dataset.class_numbers.items():
        path = source.parent / f"segmentations/{TOTALSEGMENTATOR.get(name, name)}.nii.gz"
        if path.exists() and (inside := np.asarray(nibabel.load(path).dataobj) > 0).any():
            merged[inside], voxels[name] = number, int(inside.sum())
    for path, content in ((image, scan), (labels, nibabel.Nifti1Image(merged, scan.affine))):
        (tmp_path / path).parent.mkdir(parents=True)
        nibabel.save(content, tmp_path / path)
    assert verify(dataset, tmp_path, processes=1) == []
    (case,) = dataset.find_cases(tmp_path)
    read, affine, _ = dataset.read_labels(case)
    assert dataset.load_image(case)[0].shape[1:] == read.shape == scan.shape and np.allclose(affine, scan.affine)
    assert len(voxels) >= 5 and {"liver", "spleen"} <= set(voxels)
    for group, (organ,) in dataset.groups.items():
        assert (dataset.restrict(read, [organ]) == 1).sum() == voxels.get(organ, 0), group


def zipped(root: Path, path: Path, top: str) -> Archive:
    with zipfile.ZipFile(path, "w") as container:
        for file in sorted(root.rglob("*.nii.gz")):
            container.write(file, f"{top}/{file.relative_to(root)}")
        container.writestr(f"__MACOSX/{top}/imagesTr/._amos_0001.nii.gz", b"junk")
        container.writestr(f"{top}/imagesTs/amos_0002.nii.gz", b"no public label")
    checksum = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(BOTH.archives[0], hash=checksum)


def test_both_views_come_from_one_download(tmp_path, monkeypatch):
    archive = zipped(write(tmp_path / "published", "amos_ct_mri"), tmp_path / "amos22.zip", "amos22")
    asked = []

    def copy(archive, folder, *, pause):
        asked.append(folder)
        return (tmp_path / "amos22.zip").rename(folder / archive.name)

    monkeypatch.setattr(fetch, "download", copy)
    for dataset, number in ((CT, 3), (BOTH, 4)):
        out = tmp_path / f"data/{dataset.name}/source.json"
        fetch.use_download(replace(dataset, archives=(archive,)), out)
        source = load_source(out, dataset.name)
        assert (source["cases"], source["archives"]) == (number, {archive.url: archive.hash})
        assert Path(source["root"]) == tmp_path / "data/amos22/raw/unpacked/amos22/amos22"
    assert asked == [tmp_path / "data/amos22/raw"]
    names = {path.name for path in (tmp_path / "data/amos22/raw/unpacked").rglob("*.nii.gz")}
    assert len(names) == 4 and "amos_0002.nii.gz" not in names
