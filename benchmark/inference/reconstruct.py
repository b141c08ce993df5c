"""`retable reconstruct`: what a network trained on masked images makes of images that it hides in part.

A sheet (.png) of image | masked | reconstruction, a row per image, and a record (.json) of the errors on what was
hidden, beside that of the plainest guess: the mean of the visible pixels of the same image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmark import lineage
from benchmark.data.masked_images import MaskedImageDataset
from benchmark.data.sampling import PatchDataset
from benchmark.data.split import read_split
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import atomic_path, write_json
from benchmark.inference.predict import (
    add_trained_run_arguments,
    cases_to_predict,
    device_of,
    load_network,
    weights_of,
)
from benchmark.progress import say
from benchmark.settings import RunConfig
from benchmark.version import code_version

IMAGES = 6
GAP = 4  # white pixels between the pictures of a sheet
SHOWN = (1, 99)  # percentiles of an image that become black and white
HIDDEN = 128  # grey value of what is masked


class Reconstructed(NamedTuple):
    """Images and what became of them.

    Attributes:
        images, reconstructions: [B, C, H, W]; a reconstruction is the network's own in every pixel.
        hidden: [B, 1, H, W], where the network did not see the image.
        errors, guesses: [B], mean absolute error of the hidden pixels, of the network and of the mean of the visible
            pixels of each image and channel.
    """

    images: Tensor
    reconstructions: Tensor
    hidden: Tensor
    errors: Tensor
    guesses: Tensor


@torch.no_grad()
def reconstruct(network: nn.Module, images: Tensor, masks: Tensor) -> Reconstructed:
    """Hide parts of images and let a network fill them.

    Args:
        network: in evaluation mode, from images and masks to images.
        images: [B, C, H, W].
        masks: [B, h, w], 1 = hidden; neither all nor nothing of an image.

    Raises:
        InputError: an image is hidden whole, or not at all.
    """
    reconstructions = network(images, masks).float()
    rows, columns = (side // tokens for side, tokens in zip(images.shape[2:], masks.shape[1:], strict=True))
    hidden = masks.repeat_interleave(rows, dim=1).repeat_interleave(columns, dim=2)[:, None] > 0
    count, channels = hidden.sum(dim=(1, 2, 3)), images.shape[1]
    pixels = images[0, 0].numel()
    if not bool(((count > 0) & (count < pixels)).all()):
        raise InputError("an image is hidden whole, or not at all", found=count.tolist(), expected=f"1 to {pixels - 1}")
    visible_mean = (images * ~hidden).sum(dim=(2, 3), keepdim=True) / (pixels - count)[:, None, None, None]
    errors, guesses = (
        ((images - guess).abs() * hidden).sum(dim=(1, 2, 3)) / (count * channels)
        for guess in (reconstructions, visible_mean)
    )
    return Reconstructed(images, reconstructions, hidden, errors, guesses)


def sheet(found: Reconstructed, *, turned: bool = False) -> NDArray[np.uint8]:
    """[H', W', 3]: a row per image: the image, what the network saw of it, and that with the hidden part filled.

    Args:
        turned: show the first axis of the images from left to right, as slices of volumes are looked at.
    """
    rows = []
    for image, reconstruction, hidden in zip(found.images, found.reconstructions, found.hidden, strict=True):
        filled = torch.where(hidden, reconstruction, image)
        low, high = (float(np.percentile(image.numpy(force=True), share)) for share in SHOWN)
        original, whole = (_picture(one, low, high) for one in (image, filled))
        masked = np.where(hidden[0].numpy(force=True)[..., None], np.uint8(HIDDEN), original)
        shown = (original, masked, whole)
        rows.append(_beside([one.swapaxes(0, 1) if turned else one for one in shown], axis=1))
    return _beside(rows, axis=0)


def _picture(image: Tensor, low: float, high: float) -> NDArray[np.uint8]:
    """An image [C, H, W] as [H, W, 3]: three channels in colour, of any other number the first in grey."""
    shown = image if len(image) == 3 else image[:1].expand(3, -1, -1)
    grey = (shown.permute(1, 2, 0).numpy(force=True) - low) / max(high - low, 1e-6)
    return (255 * grey.clip(0, 1)).round().astype(np.uint8)


def _beside(pictures: Sequence[NDArray[np.uint8]], axis: int) -> NDArray[np.uint8]:
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=axis)


def reconstruct_cases(
    config: RunConfig,
    network: nn.Module,
    store: PreparedStore,
    cases: Sequence[str],
    *,
    count: int = IMAGES,
    device: torch.device | str = "cpu",
) -> Reconstructed:
    """The first images and masks of a training's own order over `cases`, without augmentation.

    Raises:
        InputError: the training is not one on masked images, or there is no image.
    """
    if config.training.masked_images is None:
        raise InputError(
            f"{config.run} does not reconstruct images",
            expected="a training with the objective masked_images",
            found=config.training.objective,
        )
    plain = config.training.model_copy(update={"augmentation": ()})
    patches = PatchDataset(store, sorted(cases), plain, config.seed, slice_axis=config.inference.slice_axis)
    samples = MaskedImageDataset(patches, config.training.masked_images)
    images, masks = zip(*(samples[index] for index in range(min(count, len(patches.samples)))), strict=True)
    network = network.to(device).eval()
    return reconstruct(network, torch.stack(images).to(device), torch.stack(masks).to(device))


def write(found: Reconstructed, out: Path, details: dict[str, Any], *, turned: bool = False) -> None:
    """The `sheet` as `out` (.png) and, last, its record as `out` with .json."""
    out.with_suffix(".json").unlink(missing_ok=True)  # a sheet being rewritten has no record
    with atomic_path(out) as temporary:
        Image.fromarray(sheet(found, turned=turned)).save(temporary)
    errors, guesses = found.errors.tolist(), found.guesses.tolist()
    means = {"mean_absolute_error": float(np.mean(errors)), "of_the_visible_mean": float(np.mean(guesses))}
    write_json(out.with_suffix(".json"), {**details, **means, "errors": errors, "guesses": guesses})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="sheet to write (.png); its record goes beside it")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"how many (default: {IMAGES})")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    config, store, weights = run_config(arguments), PreparedStore(arguments.store.parent), weights_of(arguments)
    cases, _ = cases_to_predict(config, store, read_split(arguments.split))
    network, device = load_network(config, store, weights), device_of(arguments)
    found = reconstruct_cases(config, network, store, cases, count=arguments.images, device=device)
    details = {
        "run": config.run,
        "scale": config.scale,
        "made": lineage.reconstruction(config, weights=weights.digest, data=store.digest_of(cases, "image")),
        "weights_sha256": weights.sha256,
        "code_version": code_version(),
    }
    write(found, arguments.out, details, turned=store.open(cases[0]).image.ndim == 4)
    error, guess = float(found.errors.mean()), float(found.guesses.mean())
    say(f"{config.run}: error {error:.3f} on what was hidden, {guess:.3f} of the visible mean; see {arguments.out}")
