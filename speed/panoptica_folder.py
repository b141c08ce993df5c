"""panoptica's evaluation of a folder, for speed/evaluate.py, which runs it with the Python of panoptica's environment.

panoptica 2.1.7 wants numpy below 2.3, so it cannot stand beside ours in one environment. Each class is one instance,
matched with itself, as in a semantic segmentation; Dice and IoU, cases in worker processes.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import SimpleITK
from panoptica import InputType, Metric, Panoptica_Evaluator
from panoptica.utils.label_group import LabelGroup
from panoptica.utils.segmentation_class import SegmentationClassGroups

from speed.folder_cost import Means, measure


@cache
def evaluator(classes: int) -> Panoptica_Evaluator:
    groups = {f"class{value}": LabelGroup(value, single_instance=True) for value in range(1, classes + 1)}
    return Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE, segmentation_class_groups=SegmentationClassGroups(groups),
        instance_metrics=[Metric.DSC, Metric.IOU], global_metrics=[],
    )  # fmt: skip


def case_means(reference: Path, *, classes: int) -> list[tuple[float, float]]:
    """(Dice, IoU) of each class of a case."""
    paths = (reference.parents[1] / "prediction" / reference.name, reference)
    prediction, truth = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)) for path in paths)
    found = evaluator(classes).evaluate(prediction, truth, verbose=False)
    return [(result.sq_dsc, result.sq) for result in found.values()]


def panoptica(folder: Path, processes: int, *, classes: int) -> Means:
    with Pool(processes) as pool:
        scores = pool.map(partial(case_means, classes=classes), sorted((folder / "reference").iterdir()))
    (folder / "panoptica.json").write_text(json.dumps(scores), encoding="utf-8")
    dsc, iou = np.nanmean(np.array(scores), axis=(0, 1))
    return {"dsc": float(dsc), "iou": float(iou)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    arguments = parser.parse_args()
    method = partial(panoptica, classes=arguments.classes)
    print(json.dumps(measure(method, arguments.folder, arguments.processes)))


if __name__ == "__main__":
    main()
