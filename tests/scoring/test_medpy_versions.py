"""What medpy and the releases around it score, by version, on masks that overlap, are missed, invented or empty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES = {number: f"class {number}" for number in range(1, 7)}
NEITHER = 3  # index of the class that reference and prediction both lack
RELEASES = {
    "TransUNet": "transunet",
    "SwinUnet": "transunet",
    "SAMed": "transunet",
    "H-SAM": "transunet",
    "E-SAM_val_dice_hd95": "esam",
    "M4oE_dice_hd95_iou": "m4oe",
}
METRICS = ("dsc", "hd95", "iou")


@pytest.fixture(scope="module")
def fixture(parity_around):
    return parity_around("score_medpy_family")


def scores(fixture, case: int, convention: str) -> dict[tuple[int, str], float]:
    """(class index, metric) → value of one of the fixture's volumes."""
    spacing = tuple(fixture["spacing"])
    maps = [
        LabelMap(np.ascontiguousarray(fixture[side][case].numpy()).astype(np.uint8), Geometry((7, 24, 20), spacing))
        for side in ("references", "predictions")
    ]
    found = score_case(*maps, labels=CLASSES, conventions=[get_convention(convention)])
    return {(int(score.class_name.split()[1]) - 1, score.metric): score.value for score in found}


@pytest.mark.parity
@pytest.mark.parametrize("case", range(2))
@pytest.mark.parametrize("release", RELEASES)
def test_releases(fixture, release: str, case: int):
    ours = scores(fixture, case, RELEASES[release])
    theirs = fixture["results"][release]["per_case_class"][case].numpy()
    for index, row in enumerate(theirs):
        for metric, value in zip(METRICS, row, strict=False):
            assert ours[index, metric] == pytest.approx(value, abs=1e-9), (release, index, metric)


def empty_dice(fixture) -> dict[str, float]:
    """Convention → Dice of two empty masks: that of the version which it names."""
    return {
        "medpy": 1.0,  # 0.5.2 with numpy 1.26.4: reference/protocols/moe_sam_additions.md
        "medpy_0_4": fixture["empty_rules_medpy_0_4_0_dc_both_empty"]["numpy_1_26"],
        "medpy_numpy2": fixture["empty_rules_medpy_0_5_2"]["both"],
    }


@pytest.mark.parity
@pytest.mark.parametrize("case", range(2))
@pytest.mark.parametrize("convention", ["medpy", "medpy_0_4", "medpy_numpy2"])
def test_versions_of_medpy(fixture, convention: str, case: int):
    ours = scores(fixture, case, convention)
    for index, raw in enumerate(fixture["medpy_raw"][case]):
        expected = {"dsc": raw["dc"], "iou": raw["jc"], "hd": raw["hd_spacing"], "hd95": raw["hd95_spacing"],
                    "assd": raw["assd_spacing"]}  # fmt: skip
        if index == NEITHER:
            expected["dsc"] = empty_dice(fixture)[convention]
        for metric, value in expected.items():
            if (index, metric) in ours:
                theirs = math.nan if isinstance(value, str) else value  # where medpy raises, there is no value
                assert ours[index, metric] == pytest.approx(theirs, abs=1e-9, nan_ok=True), (index, metric)
    assert (NEITHER, "dsc") in ours


def test_the_installed_medpy_is_the_version_that_medpy_numpy2_names():
    """Should a new lock change what two empty masks give, the convention has to name another version."""
    from medpy.metric import binary

    empty = np.zeros((3, 3), bool)
    assert math.isnan(binary.dc(empty, empty)) and binary.jc(empty, empty) == 1.0
