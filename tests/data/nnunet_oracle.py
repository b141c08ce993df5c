"""nnunetv2 itself, run on a handful of cases: its fingerprint, its plan, its preprocessor and its export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

NAME = "Dataset001_Sample"
DRAWN_VOXELS = 10**5  # of the cases together, instead of nnU-Net's 10^8


@dataclass
class Oracle:
    """nnunetv2's view of a raw data set; arrays come in its own axis order.

    Attributes:
        raw: folder of nnUNet_raw.
        plans: what its planner planned.
        fingerprint: what its extractor found.
    """

    raw: Path
    plans: dict[str, Any]
    fingerprint: dict[str, Any]

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        return json.loads((self.raw / NAME / "dataset.json").read_text())

    @cached_property
    def manager(self) -> Any:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        return PlansManager(self.plans)

    def preprocess(self, case: str, configuration: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """(image float32 [C, a, b, c], labels int [a, b, c], properties) of one case."""
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        ending = self.dataset_json["file_ending"]
        image, labels, properties = DefaultPreprocessor(verbose=False).run_case(
            [str(path) for path in sorted((self.raw / NAME / "imagesTr").glob(f"{case}_0*{ending}"))],
            str(self.raw / NAME / "labelsTr" / f"{case}{ending}"),
            self.manager,
            self.manager.get_configuration(configuration),
            self.dataset_json,
        )
        return image, labels[0], properties

    def export(self, logits: np.ndarray, properties: dict[str, Any], configuration: str) -> np.ndarray:
        """Labels on the raw grid, in SimpleITK's axis order."""
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self.manager,
            self.manager.get_configuration(configuration),
            self.manager.get_label_manager(self.dataset_json),
            properties,
            num_threads_torch=1,
        )

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """[..., a, b, c] as the preprocessor has it, in the axis order of nibabel."""
        leading = array.ndim - 3
        backward = [leading + int(axis) for axis in self.plans["transpose_backward"]]
        reverse = [*range(leading), *(leading + axis for axis in (2, 1, 0))]
        return array.transpose(*range(leading), *backward).transpose(reverse)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Inverse of `to_ours`."""
        leading = array.ndim - 3
        forward = [leading + int(axis) for axis in self.plans["transpose_forward"]]
        reverse = [*range(leading), *(leading + axis for axis in (2, 1, 0))]
        return array.transpose(reverse).transpose(*range(leading), *forward)


def ask(
    folder: Path,
    cases: Sequence[tuple[str, Sequence[Path], Path]],
    *,
    channel: str,
    classes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Oracle:
    """Put cases (name, images, labels) into nnU-Net's raw layout under `folder`, and let nnunetv2 plan.

    Args:
        channel: "CT", or anything else for the z-score.
        classes: without background.
    """
    from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner

    raw, preprocessed = folder / "raw", folder / "preprocessed"
    ending = ".png" if cases[0][2].suffix == ".png" else ".nii.gz"
    for part in ("imagesTr", "labelsTr"):
        (raw / NAME / part).mkdir(parents=True)
    for name, images, labels in cases:
        for number, image in enumerate(images):
            shutil.copy(image, raw / NAME / "imagesTr" / f"{name}_{number:04d}{ending}")
        shutil.copy(labels, raw / NAME / "labelsTr" / f"{name}{ending}")
    channels = 3 if ending == ".png" else len(cases[0][1])
    facts = {
        "channel_names": {str(number): channel for number in range(channels)},
        "labels": {"background": 0, **{f"class{number}": number for number in range(1, classes + 1)}},
        "numTraining": len(cases),
        "file_ending": ending,
    }
    (raw / NAME / "dataset.json").write_text(json.dumps(facts))
    for module in (fingerprint_extractor, default_experiment_planner):
        monkeypatch.setattr(module, "nnUNet_raw", str(raw))
        monkeypatch.setattr(module, "nnUNet_preprocessed", str(preprocessed))
    in_threads = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(fingerprint_extractor, "multiprocessing", in_threads)
    extractor = fingerprint_extractor.DatasetFingerprintExtractor(NAME, 1)
    extractor.show_progress_bar = False
    extractor.num_foreground_voxels_for_intensitystats = DRAWN_VOXELS
    fingerprint = extractor.run()
    planner = default_experiment_planner.ExperimentPlanner(NAME)
    return Oracle(raw, planner.plan_experiment(), fingerprint)
