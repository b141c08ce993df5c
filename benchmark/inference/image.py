"""Label one prepared image by a run's inference settings, and bring the labels back to its raw grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.geometry import restore_labels, slice_patch, uncrop
from benchmark.errors import InputError
from benchmark.inference.slices import on_slices, predict_on_network_grid, to_grid
from benchmark.inference.sliding_window import Network, Window, mirrored, predict_labels, predict_scores
from benchmark.settings import RunConfig

if TYPE_CHECKING:
    from benchmark.data.prompts import Points

WHOLE = ("whole", "prompted")  # methods that see whole images, resized


class Prepared(Protocol):
    """An image [C, *spatial] on the prepared grid, float32, and what leads back to the raw one."""

    @property
    def image(self) -> Any: ...

    @property
    def meta(self) -> dict[str, Any]: ...


def predict_image(
    network: nn.Module, image: Tensor, config: RunConfig, *, device: str | torch.device, points: Points | None = None
) -> Tensor:
    """Label one prepared image [C, *spatial] by the run's inference settings; labels [*spatial] on the CPU.

    `points`: of the volume, for the method prompted.
    """
    inference = config.inference
    if inference.enlarged != "labels" and inference.method == "whole":
        from benchmark.inference.two_stages import predict_enlarged  # other recipes do without

        patch = inference.patch or config.training.patch
        return predict_enlarged(_mirrored(network, config), image, patch, inference, device=device)
    if inference.method in WHOLE:
        labels = predict_small(network, image, config, device=device, points=points)
        if inference.enlarged != "labels":  # logits came back, mask by mask
            return labels
        return torch.from_numpy(from_network_grid(labels.numpy(), image.shape[1:], config))
    function, window = windows(network, config)
    return predict_labels(function, image, window, device=device, precision=inference.precision)


def predict_small(
    network: nn.Module, image: Tensor, config: RunConfig, *, device: str | torch.device, points: Points | None = None
) -> Tensor:
    """Labels as large as the network sees whole images, for the methods `WHOLE`; as large as the image itself where the
    logits of prompted masks come back (`enlarged`).

    Raises:
        InputError: points are needed and there are none of this case, or the network has no use for them.
    """
    inference = config.inference
    patch = inference.patch or config.training.patch
    if inference.method == "whole":
        return predict_on_network_grid(_mirrored(network, config), image, patch, inference, device=device)
    if points is None:
        raise InputError("the case has no points", expected="--prompts", remedy="run `retable prompts`")
    from benchmark.inference.prompts import Prompted, predict_prompted  # other methods do without

    if not isinstance(network, Prompted):
        raise InputError(f"{config.run}: the network is not asked by points", expected="a prompted network")
    return predict_prompted(network, image, points, patch, inference, classes=network.classes, device=device)


def from_network_grid(small: np.ndarray, shape: Sequence[int], config: RunConfig) -> np.ndarray:
    """What `predict_small` gives, on the grid `shape` of the prepared image."""
    patch = config.inference.patch or config.training.patch
    return to_grid(small, shape, config.inference, sliced=small.ndim > len(patch))


def predict_raw_labels(
    network: nn.Module,
    case: Prepared,
    config: RunConfig,
    *,
    device: str | torch.device,
    points: Points | None = None,
) -> np.ndarray:
    """Label one case on its raw grid: what goes back there, labels or scores, is `inference.restore`; uint8."""
    image = torch.from_numpy(np.asarray(case.image[:]))
    if config.inference.restore == "labels":
        if config.inference.first_stage is not None:
            labels = _in_box(network, image, case.meta["spacing"], config, device=device)
        else:
            labels = predict_image(network, image, config, device=device, points=points).numpy()
        return restore_labels(labels, case.meta).astype(np.uint8)  # the store holds at most 255 classes
    from benchmark.data.planned_grid import restore_scores  # with it comes numba, which other recipes do without

    function, window = windows(network, config)
    scores = predict_scores(function, image, window, device=device, precision=config.inference.precision)
    return restore_scores(scores.numpy(), case.meta)


def _in_box(
    network: nn.Module, image: Tensor, spacing: Sequence[float], config: RunConfig, *, device: str | torch.device
) -> np.ndarray:
    """Labels of the box that the network's first stage finds, background around it."""
    from benchmark.inference.two_stages import find_box  # other recipes do without

    start, stop = find_box(network, image, spacing, config.inference, device=device)
    box = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
    labels = predict_image(network, image[(slice(None), *box)], config, device=device).numpy()
    return uncrop(labels, start, image.shape[1:])


def windows(network: nn.Module, config: RunConfig) -> tuple[Network, Window]:
    """The network as it is moved over a prepared image, and how."""
    inference, function = config.inference, _mirrored(network, config)
    patch = inference.patch or config.training.patch
    if inference.method == "slices":
        function, patch = on_slices(function, inference.slice_axis), slice_patch(patch, inference.slice_axis)
    return function, Window(
        patch, inference.overlap, inference.weighting, inference.sigma_scale, inference.window_batch
    )


def _mirrored(network: nn.Module, config: RunConfig) -> Network:
    return mirrored(network) if config.inference.mirror else network
