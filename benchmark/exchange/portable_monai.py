"""The parts of an exported run that a MONAI bundle's inference.json names; carried like `portable`, of which they are
made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from benchmark.exchange.portable import Predictor
from benchmark.inference.image import predict_image


class PrepareImage:
    """{"case", "image": files} to {"case", "image": [C, *spatial], "meta"}; meta as JSON, which loaders leave alone."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self.predictor.prepare(data["image"])
        return {"case": data["case"], "image": torch.from_numpy(prepared.image), "meta": json.dumps(prepared.meta)}


class WholeImages(Inferer):
    """Labels [1, 1, *spatial] by a network that sees whole resized images or slices, as the run has it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """`network`: of windows, which whole images have no use for; the predictor has its own."""
        labels = predict_image(self.predictor.network, inputs[0].cpu(), self.predictor.config, device=inputs.device)
        return labels[None, None].float()


class WriteLabels:
    """Bring scores or labels under "pred" back to the raw grid, and write <folder>/<case>.nii.gz."""

    def __init__(self, predictor: Predictor, folder: str) -> None:
        self.predictor, self.folder = predictor, Path(folder)

    def __call__(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        predicted, meta = torch.as_tensor(data["pred"]), json.loads(data["meta"])
        if self.predictor.config.inference.method == "whole":
            labels = self.predictor.from_labels(predicted[0].cpu().numpy().astype(np.uint8), meta)
        else:
            labels = self.predictor.restore(predicted, meta)
        self.predictor.write(labels, meta, self.folder / f"{data['case']}.nii.gz")
        return data


@torch.no_grad()
def label_all(
    cases: Iterable[Mapping[str, Any]], network: nn.Module, inferer: Inferer, write: WriteLabels, device: torch.device
) -> None:
    """Label every case of a loader of one case per batch. MONAI's evaluators would do the same, and need ignite."""
    for case in cases:
        predicted = inferer(case["image"].to(device), network)
        write({"case": case["case"][0], "meta": case["meta"][0], "pred": predicted[0]})
