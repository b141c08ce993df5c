"""A trained run outside of Retable: prepares images as its protocol says, labels them, and brings the labels back.

`retable export` writes this module, with the others that it needs, into the folder of an export, where the package is
called `retable_runtime`. It reads `run.json` there, and the network from a program of `torch.export`, so that neither
Retable nor the code of the network has to be installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.geometry import restore_labels
from benchmark.data.plan import Plan
from benchmark.data.planned_grid import restore_scores
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.datasets import Case, get_dataset
from benchmark.errors import InputError
from benchmark.images.files import images_in, stem_of
from benchmark.inference.components import parts_of
from benchmark.inference.image import predict_raw_labels, windows
from benchmark.inference.sliding_window import logits_of
from benchmark.settings import RunConfig

CHANNEL = re.compile(r"_(\d{4})$")


class PreparedImage(NamedTuple):
    """An image float32 [C, *spatial] on the prepared grid, and what leads back to its raw one."""

    image: np.ndarray
    meta: dict[str, Any]


class ExportedNetwork(nn.Module):
    """A program of `torch.export`: images [B, C, *patch] to logits [B, classes, *patch], for any B."""

    def __init__(self, path: Path, device: str | torch.device = "cpu") -> None:
        super().__init__()
        program = torch.export.load(path)
        if torch.device(device).type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.programs = [program.module()]  # in a list: the modes of an exported program cannot be set

    def forward(self, patches: Tensor) -> Tensor:
        return self.programs[0](patches)


class WindowNetwork(nn.Module):
    """The network as a window of the prepared image meets it: mirrored, on slices, autocast, as the run has it."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.function, self.window = windows(predictor.network, predictor.config)
        self.precision = predictor.config.inference.precision

    def forward(self, patches: Tensor) -> Tensor:
        return logits_of(self.function, patches, self.precision).float()


class Predictor:
    """A run: its settings, its plan, its data set's reader and its network.

    Args:
        folder: of the export, with `run.json`.
        device: of the network; default: the GPU where there is one.
    """

    def __init__(self, folder: str | Path, device: str | torch.device | None = None) -> None:
        facts = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
        self.config, self.plan = RunConfig.model_validate(facts["config"]), Plan.model_validate(facts["plan"])
        self.label_names, self.channels = list(facts["labels"].values()), facts["channels"]
        self.dataset = get_dataset(self.config.dataset)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = ExportedNetwork(Path(folder) / facts["network"], self.device)
        self.parts = parts_of(self.config.inference, self.label_names)

    def prepare(self, images: Sequence[str | Path]) -> PreparedImage:
        """One case on the prepared grid; `images`: one file per channel, or one that holds all.

        Raises:
            InputError: a file cannot be read, or has other axes or channels than the data set.
        """
        case = Case("case", "", tuple(map(Path, images)), ())
        image, affine = self.dataset.load_image(case)
        if len(image) != len(self.channels):
            raise InputError("channels differ", where=images[0], expected=self.channels, found=len(image))
        nothing = np.zeros(image.shape[1:], np.uint8)
        prepared, _, grid = to_prepared_grid(
            image, nothing, affine, preparation=self.config.preparation, plan=self.plan
        )
        raw = {"shape": list(nothing.shape), "affine": np.asarray(affine).tolist()}
        meta = {"case": str(images[0]), "shape": list(prepared.shape[1:]), "raw": raw, **grid}
        return PreparedImage(np.ascontiguousarray(prepared, np.float32), meta)

    @torch.no_grad()
    def label(self, case: PreparedImage) -> np.ndarray:
        """Labels uint8 [*raw spatial] of a prepared case."""
        return self._finished(predict_raw_labels(self.network, case, self.config, device=self.device))

    def restore(self, scores: Tensor, meta: dict[str, Any]) -> np.ndarray:
        """The same from what a sliding window gave: scores [classes, *prepared]."""
        if self.config.inference.restore == "scores":
            return self._finished(restore_scores(scores.float().cpu().numpy(), meta))
        return self.from_labels(scores.max(dim=0).indices.cpu().numpy().astype(np.uint8), meta)

    def from_labels(self, labels: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
        """The same from labels [*prepared]."""
        return self._finished(restore_labels(labels, meta))

    def _finished(self, labels: np.ndarray) -> np.ndarray:
        return self.parts.of(labels)

    def write(self, labels: np.ndarray, meta: dict[str, Any], path: str | Path) -> None:
        """As NIfTI, with the affine of the image."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        nibabel.Nifti1Image(labels.astype(np.uint8), np.array(meta["raw"]["affine"])).to_filename(path)

    def predict_folder(self, images: str | Path, out: str | Path) -> None:
        """Label every image of a folder into `out`/<case>.nii.gz."""
        for case in cases_in(images, len(self.channels)):
            prepared = self.prepare(case["image"])
            self.write(self.label(prepared), prepared.meta, Path(out) / f"{case['case']}.nii.gz")


def cases_in(folder: str | Path, channels: int) -> list[dict[str, Any]]:
    """The cases of a folder: files <case>.… or, one per channel, <case>_0000.…, as nnU-Net names them.

    Higher numbers than the channels have belong to the name of a case: amos_0507.

    Raises:
        InputError: there is none, or one has some of the channels only.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(images_in(Path(folder))):
        name = stem_of(path)
        channel = CHANNEL.search(name)
        case = name[: channel.start()] if channel and int(channel[1]) < channels else name
        found.setdefault(case, []).append(str(path))
    if not found:
        raise InputError("there is no image", where=folder, expected="<case>.nii.gz, or <case>_0000.nii.gz per channel")
    if odd := _odd(found.values(), channels):
        raise InputError("a case has some of its channels only", expected=f"1 or {channels} files", found=odd)
    return [{"case": case, "image": files} for case, files in found.items()]


def _odd(cases: Iterable[list[str]], channels: int) -> list[str]:
    return next((files for files in cases if len(files) not in (1, channels)), [])
