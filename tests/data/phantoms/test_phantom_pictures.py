"""Phantoms of pictures: instruments that differ in the tip, cells that touch, the mix of formats of the challenge."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import label, maximum_filter, minimum_filter

from benchmark.data.phantoms import Subject, endovis17, get_phantom, neurips_cellseg
from benchmark.data.phantoms.pictures import smooth_field
from benchmark.datasets import get_dataset
from benchmark.images.pictures import read_picture

ENDOVIS, CELLS = get_phantom("endovis17"), get_phantom("neurips_cellseg")


def test_every_type_of_instrument_has_a_tip():
    assert sorted(endovis17.TIPS) == sorted(get_dataset("endovis17").label_names)
    forms = {(tip.jaws, tip.opening, tip.length, tip.width, tip.curve, tip.window) for tip in endovis17.TIPS.values()}
    assert len(forms) == len(endovis17.TIPS)


@pytest.mark.parametrize("name", endovis17.TIPS)
def test_instruments_share_the_shaft_and_differ_in_the_tip(name):
    """Drawn alone at the same place, two types differ only within the length of a tip and a wrist from its end."""
    pictures = {}
    for other in (name, "large_needle_driver" if name != "large_needle_driver" else "vessel_sealer"):
        frame = np.zeros((endovis17.HEIGHT, endovis17.WIDTH, 3))
        mask = endovis17._draw_instrument(frame, endovis17.TIPS[other], -1, np.random.default_rng(1))
        pictures[other] = frame, mask
    (first, one), (second, two) = pictures.values()
    columns = np.flatnonzero((one | two).any(axis=0))
    border = columns.max() - endovis17.TIP_LENGTH - endovis17.WRIST_LENGTH - 20
    assert np.array_equal(one[:, : int(border)], two[:, : int(border)]) and one[:, : int(border)].any()
    assert np.allclose(first[:, : int(border)], second[:, : int(border)])  # the colour of the shaft as well
    assert (one != two).sum() > 30


def test_types_are_balanced_and_some_frames_are_empty():
    for split in ("train", "test"):
        kinds = [subject.kind for subject in ENDOVIS.plan(36) if subject.split == split]
        counts = Counter(name for kind in kinds for name in kind.split("+") if name)
        assert set(counts) == set(endovis17.TIPS) and max(counts.values()) <= 2 * min(counts.values())
        assert 0 < kinds.count("") < len(kinds) / 4


def test_a_frame_without_instruments_has_an_empty_label():
    picture, labels = endovis17.generate(Subject("seq_1_frame000", "train", 3, ""))
    assert picture.shape == (192, 320, 3) and picture.dtype == np.uint8 and not labels.any()
    red, green, blue = picture.reshape(-1, 3).mean(axis=0)
    assert red > 1.5 * green and red > 1.5 * blue  # tissue


def test_names_of_frames_tell_sequence_and_part():
    plan = ENDOVIS.plan(60)
    assert len({subject.id for subject in plan}) == 60
    for subject in plan:
        _, sequence, frame = subject.id.split("_")
        if subject.split == "train":
            assert int(sequence) <= 8 and int(frame[5:]) < 225
        else:
            assert int(sequence) <= 10 and int(frame[5:]) >= 225


@pytest.mark.parametrize("kind", neurips_cellseg.RADII)
def test_cells_touch_and_are_whole(kind):
    touching = 0
    for seed in range(4):
        picture, instances = neurips_cellseg.generate(Subject("cell_00001", "train", seed, kind))
        assert picture.shape[:2] == instances.shape and instances.dtype == np.uint16
        numbers = np.unique(instances)
        assert numbers.tolist() == list(range(len(numbers))) and 6 < len(numbers) < 60
        assert min(np.bincount(instances.ravel())[1:]) >= neurips_cellseg.SMALLEST_CELL
        lowest, highest = (
            f(np.where(instances, instances, other), 3) for f, other in ((minimum_filter, 999), (maximum_filter, 0))
        )
        touching += int(((instances > 0) & (lowest != highest)).any())
        assert label(instances > 0)[1] < len(numbers) - 1  # fewer islands than cells
    assert touching == 4


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [
        ("bright-field", (192, 192, 3), np.uint8),
        ("phase contrast", (192, 192), np.uint8),
        ("fluorescence", (192, 192), np.uint16),
        ("stained", (192, 192, 3), np.uint8),
    ],
)
def test_the_kinds_look_as_their_names_say(kind, shape, dtype, tmp_path):
    subject = Subject("cell_00001", "train", 2, kind)
    CELLS.write_subject(tmp_path, None, subject)
    picture = read_picture(next((tmp_path / "Training-labeled/images").iterdir()))
    inside = read_picture(tmp_path / "Training-labeled/labels/cell_00001_label.tiff") > 0
    assert picture.shape == shape and picture.dtype == dtype
    grey = picture.astype(float) if picture.ndim == 2 else picture.mean(axis=-1)
    brighter = grey[inside].mean() > grey[~inside].mean()
    assert brighter == (kind == "fluorescence")
    if kind == "stained":
        red, green, blue = picture[inside].mean(axis=0)
        assert green < red and green < blue  # purple


def test_both_parts_have_all_kinds_and_count_from_one():
    plan = CELLS.plan(CELLS.subjects)
    for split in ("train", "test"):
        subjects = [subject for subject in plan if subject.split == split]
        assert {subject.kind for subject in subjects} == set(neurips_cellseg.RADII)
        assert subjects[0].id == "cell_00001"


def test_smooth_fields_are_as_smooth_as_is_asked():
    rough, smooth = (smooth_field((64, 64), scale, np.random.default_rng(0)) for scale in (1, 8))
    for field in (rough, smooth):
        assert field.mean() == pytest.approx(0, abs=1e-5) and field.std() == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(smooth)).mean() < 0.4 * np.abs(np.diff(rough)).mean()
