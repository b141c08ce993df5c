"""NeurIPS CellSeg: its layout, every kind of picture, the baseline's three classes, instances kept for scoring."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import morphology, segmentation

from benchmark.data.geometry import restore_labels
from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.datasets.neurips_cellseg import stretch, three_channels, three_classes
from benchmark.errors import InputError
from benchmark.images.pictures import read_picture
from benchmark.settings import Preparation

CELLSEG = get_dataset("neurips_cellseg")


def cells(seed: int, shape: tuple[int, int] = (60, 50)) -> np.ndarray:
    """Touching and lonely discs, some too small to have an interior."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    instances = np.zeros(shape, np.uint16)
    for number in range(1, 16):
        row, column, radius = *generator.integers(0, shape), generator.integers(2, 9)
        instances[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = number + 300
    return instances


def write(root, part, name, *, seed=0, suffix=".png", labels=True):
    instances = cells(seed)
    picture = np.random.default_rng(seed).integers(1, 200, (*instances.shape, 3)).astype(np.uint8)
    for folder in ("images", "labels"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(root / part / "images" / f"{name}{suffix}")
    if labels:
        tifffile.imwrite(root / part / "labels" / f"{name}_label.tiff", instances)


@pytest.fixture
def root(tmp_path):
    for seed, (part, name) in enumerate([("Training-labeled", "cell_00001"), ("Training-labeled", "cell_00002")]):
        write(tmp_path, part, name, seed=seed)
    write(tmp_path, "Tuning", "cell_00001", seed=7, suffix=".bmp")
    return tmp_path


def released_classes(instances):
    """The rule of the reference (datasets/NeurIPS_CellSeg.json, `conversion`) in the library the baseline uses."""
    boundary = segmentation.find_boundaries(instances, mode="inner")
    boundary = morphology.dilation(boundary, morphology.disk(1))
    interior = (instances > 0) & ~boundary
    interior = morphology.remove_small_objects(interior, max_size=15)
    return np.where(boundary, 2, interior)


@pytest.mark.parametrize("seed", range(5))
def test_three_classes_are_those_of_the_baseline(seed):
    instances = cells(seed)
    classes = three_classes(instances)
    assert classes.dtype == np.uint8 and set(np.unique(classes)) == {0, 1, 2}
    assert np.array_equal(classes, released_classes(instances))


def test_no_cell_and_one_cell_everywhere():
    assert not three_classes(np.zeros((5, 7), np.uint16)).any()
    assert (three_classes(np.full((5, 7), 9, np.uint16)) == 1).all()  # the frame of the image is no boundary


def test_facts_are_the_reference(reference):
    facts = json.loads(reference("datasets/NeurIPS_CellSeg.json").read_text())
    assert dict(enumerate(CELLSEG.label_names, start=1)) == {
        int(k): v for k, v in facts["labels"]["umamba_semantic"].items() if k != "0"
    }
    for archive, download in zip(CELLSEG.archives, facts["downloads"][:2], strict=True):
        assert (archive.name, archive.hash) == (download["file"], "sha256:" + download["sha256"])
        assert archive.url == f"https://zenodo.org/records/10719375/files/{download['file']}?download=1"
    assert CELLSEG.split_counts == {"train": 1000, "val": 0, "test": 101}


def test_both_parts_count_from_one_and_test_cases_keep_their_names(root):
    cases = CELLSEG.find_cases(root)
    assert [(case.id, case.split) for case in cases] == [
        ("cell_00001", "test"),
        ("train_cell_00001", "train"),
        ("train_cell_00002", "train"),
    ]
    assert verify(CELLSEG, root, processes=1) == []


def test_archives_that_unpack_one_folder_deeper(root):
    for part in ("Training-labeled", "Tuning"):
        (root / part).rename(root / "moved")
        (root / part).mkdir()
        (root / "moved").rename(root / part / part)
    assert len(CELLSEG.find_cases(root)) == 3


@pytest.fixture
def converted(root, tmp_path_factory):
    """The same pictures as U-Mamba's Dataset703 holds them."""
    target = tmp_path_factory.mktemp("Dataset703_NeurIPSCell")
    for folder in ("imagesTr", "labelsTr", "imagesVal", "labelsVal-instance-mask"):
        (target / folder).mkdir()
    for case in CELLSEG.find_cases(root):
        name = case.id.removeprefix("train_")
        images, labels = ("imagesTr", "labelsTr") if case.split == "train" else ("imagesVal", "labelsVal-instance-mask")
        channels, _ = CELLSEG.load_image(case)
        Image.fromarray(np.moveaxis(channels, 0, -1)).save(target / images / f"{name}_0000.png")
        instances, _ = CELLSEG.read_reference(case)
        if case.split == "train":
            Image.fromarray(released_classes(instances).astype(np.uint8)).save(target / labels / f"{name}.png")
        else:
            tifffile.imwrite(target / labels / f"{name}_label.tiff", instances)
    return target


def test_the_archive_of_umamba_gives_the_same_cases(root, converted):
    cases = CELLSEG.find_cases(converted)
    assert [(case.id, case.split) for case in cases] == [(c.id, c.split) for c in CELLSEG.find_cases(root)]
    assert verify(CELLSEG, converted, processes=1) == []
    for case, original in zip(cases, CELLSEG.find_cases(root), strict=True):
        assert np.array_equal(CELLSEG.load_image(case)[0], CELLSEG.load_image(original)[0])  # not stretched twice
        assert np.array_equal(CELLSEG.read_labels(case)[0], CELLSEG.read_labels(original)[0])
        reference = CELLSEG.read_reference(case)
        if case.split == "test":
            assert np.array_equal(reference[0], CELLSEG.read_reference(original)[0])
        else:
            assert reference is None  # only the classes are there


def test_faults_of_umambas_archive(converted):
    Image.fromarray(np.full((60, 50), 3, np.uint8)).save(converted / "labelsTr/cell_00001.png")
    (converted / "labelsTr/cell_00002.png").rename(converted / "labelsTr/cell_00003.png")
    found = {(fault.case, fault.problem) for fault in verify(CELLSEG, converted, processes=1)}
    assert found == {
        ("train_cell_00001", "unknown label value"),
        ("train_cell_00002", "no label file"),
        ("cell_00003", "label without an image"),
    }
    with pytest.raises(InputError, match="not the three classes"):
        CELLSEG.read_labels(CELLSEG.find_cases(converted)[1])
    shutil.rmtree(converted / "imagesVal")
    with pytest.raises(InputError, match="no imagesVal"):
        CELLSEG.find_cases(converted)


@pytest.mark.parametrize("part", ["Training-labeled", "Tuning"])
def test_a_missing_part_is_named(root, part):
    (root / part).rename(root / "elsewhere")
    with pytest.raises(InputError, match=f"no {part}/images"):
        CELLSEG.find_cases(root)


def test_every_fault_is_found(root):
    write(root, "Tuning", "cell_00003", seed=3, labels=False)
    write(root, "Tuning", "cell_00004", seed=4)
    (root / "Tuning/images/cell_00004.png").rename(root / "Tuning/images/cell_00005.png")
    Image.fromarray(np.ones((60, 50), np.uint8)).save(root / "Training-labeled/images/cell_00001.tif")
    tifffile.imwrite(root / "Training-labeled/labels/cell_00002_label.tiff", cells(1)[:-1])
    (root / "Tuning/images/cell_00001.bmp").write_bytes(b"BM")
    found = {(fault.case, fault.problem) for fault in verify(CELLSEG, root, processes=1)}
    assert found == {
        ("cell_00001", "unreadable"),
        ("cell_00003", "no label file"),
        ("cell_00004", "label without an image"),
        ("cell_00005", "no label file"),
        ("cell_00001", "several images of one name"),
        ("train_cell_00002", "shape differs"),
    }


@pytest.mark.parametrize(
    ("array", "suffix"),
    [
        (np.arange(30, dtype=np.uint8).reshape(5, 6), ".png"),
        (np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000, ".tif"),
        (np.arange(60, dtype=np.uint16).reshape(5, 6, 2), ".tiff"),
        (np.arange(90, dtype=np.uint8).reshape(5, 6, 3), ".bmp"),
        (
            np.concatenate([np.arange(90), np.full(30, 255)]).reshape(4, 5, 6).transpose(1, 2, 0).astype(np.uint8),
            ".png",
        ),
    ],
)
def test_pictures_become_three_channels(tmp_path, array, suffix):
    path = tmp_path / f"a{suffix}"
    if "tif" in suffix:
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig" if array.ndim == 3 else None)
    else:
        Image.fromarray(np.ascontiguousarray(array)).save(path)
    channels = three_channels(read_picture(path))
    assert channels.shape == (5, 6, 3)
    colours = array[..., :3] if array.ndim == 3 else np.stack([array] * 3, axis=-1)
    assert np.array_equal(channels[..., : colours.shape[2]], colours) and not channels[..., colours.shape[2] :].any()


def test_a_palette_becomes_colours_and_a_stack_is_refused(tmp_path):
    colours = np.random.default_rng(0).integers(0, 2, (8, 9, 3)).astype(np.uint8) * 255
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), colours)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((6, 8, 9), np.uint8))
    with pytest.raises(InputError, match="not a picture"):
        read_picture(tmp_path / "b.tif")


def test_stretching_ignores_zeros():
    channel = np.concatenate([np.zeros(1000, np.uint16), np.arange(100, 1101, dtype=np.uint16)]).reshape(3, 667)
    low, high = 110, 1090  # percentiles 1 and 99 of 100 … 1100
    expected = np.clip((channel.astype(float) - low) / (high - low), 0, 1) * 255
    assert np.array_equal(stretch(channel), expected.astype(np.uint8))
    assert not stretch(np.zeros((2, 2), np.uint16)).any()
    assert (stretch(np.full((2, 2), 77, np.uint8)) == 77).all()


def test_networks_learn_classes_and_scores_see_instances(root, tmp_path):
    split = make_split(CELLSEG, CELLSEG.find_cases(root), kind="local")
    out = tmp_path / "store/prepared.json"
    prepare(CELLSEG, root, split, Preparation(normalise="zscore"), out=out, processes=1)
    store = PreparedStore(out.parent)
    assert store.label_names == ("interior", "boundary") and store.channels == ("R", "G", "B")
    case = store.open("cell_00001")
    instances = tifffile.imread(root / "Tuning/labels/cell_00001_label.tiff")
    labels = np.asarray(case.labels[:])
    assert np.array_equal(labels, released_classes(instances))
    assert np.array_equal(restore_labels(labels, case.meta), labels)
    image = np.asarray(case.image[:])
    assert image.shape == (3, 60, 50) and np.allclose(image.mean((1, 2)), 0, atol=1e-5)
    assert np.allclose(image.std((1, 2)), 1, atol=1e-5)
    kept = nibabel.load(out.parent / "references/cell_00001.nii.gz")
    assert np.array_equal(np.asarray(kept.dataobj), instances) and kept.get_data_dtype() == np.uint16


@pytest.mark.real_data
def test_real_pictures_of_another_set_in_this_layout(real_data):
    root = real_data("DSB2018_CellSegLayout")
    assert verify(CELLSEG, root, processes=1) == []
    cases = CELLSEG.find_cases(root)
    split = make_split(CELLSEG, cases, kind="local")
    assert (len(split["train"]), len(split["test"])) == (43, 17)
    for case in cases[::12]:
        instances, _ = CELLSEG.read_reference(case)
        classes, _, _ = CELLSEG.read_labels(case)
        assert np.array_equal(classes, released_classes(instances))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "shape", "objects"),
    [("cell_00225", (1024, 1024), 6), ("cell_00528", (200, 200), 44), ("cell_00849", (512, 512), 187)],
)
def test_the_challenges_own_files(real_data, name, shape, objects):
    folder = real_data("NeurIPS_CellSeg_3cases")
    (image,) = (path for path in folder.rglob(f"{name}.*"))
    (labels,) = folder.rglob(f"{name}_label.*")
    case = type("Case", (), {"images": (image,), "labels": (labels,)})
    channels, _ = CELLSEG.load_image(case)
    instances, _ = CELLSEG.read_reference(case)
    assert channels.shape == (3, *shape) and channels.dtype == np.uint8 and channels.max() == 255
    assert instances.shape == shape and len(np.unique(instances)) - 1 == objects
