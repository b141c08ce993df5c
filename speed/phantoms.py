"""Draws docs/phantoms.png: what every data set's phantom looks like, read by the data set's own reader.

    python speed/phantoms.py [--out docs/phantoms.png]

One subject of each kind of each phantom, as an image and with its labels over it: volumes in the slice with the most
structures (of several, the one nearest the middle) as a radiologist sees it, pictures as they are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.pyplot as plt
import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from benchmark.data import phantoms
from benchmark.datasets import Case, Dataset, available_datasets, get_dataset
from benchmark.files import atomic_path
from speed.table import parse, write_ratios

COLUMNS = 5
MOST = {"acdc": 2, "endovis17": 2, "amos_ct_mri": 2}
WINDOWS = {"mmwhs": (-250, 520)}
ABDOMEN_HU = (-180, 320)
NOT_GREY = np.delete(np.arange(20), [14, 15])  # of the palette tab20
PLANES = {"axial": 2, "coronal": 1}


@dataclass(frozen=True)
class Panel:
    """A picture to draw: grey [H, W] or colour [H, W, 3] from 0 to 1, and its labels [H, W]."""

    title: str
    picture: np.ndarray
    labels: np.ndarray


def panels(name: str, folder: Path) -> Iterator[Panel]:
    """The first test subject of each kind, with all its frames; not more than MOST."""
    phantom, dataset = phantoms.get_phantom(name), get_dataset(name)
    phantoms.write(phantom, folder)
    first: dict[str, str] = {}
    for subject in phantom.plan(phantom.subjects):
        if subject.split == "test" and (
            subject.kind or name != "endovis17"
        ):  # a frame without instruments shows little
            first.setdefault(subject.kind, subject.id)
    cases = [case for case in dataset.find_cases(folder) if case.split == "test"]
    found = [(kind, case) for kind, who in first.items() for case in cases if who in (case.id, case.patient)]
    for kind, case in found[: MOST.get(name)]:
        yield panel(name if name == "endovis17" else f"{name} {kind}".strip(), dataset, case)


def panel(title: str, dataset: Dataset, case: Case) -> Panel:
    """The case as `Panel`."""
    reference = dataset.read_reference(case)
    labels = dataset.load_labels(case)[0] if reference is None else reference[0]
    if dataset.spatial_dims == 2:
        picture = dataset.read_file(case.images[0])[0]
        return Panel(title, picture / (255 if picture.dtype == np.uint8 else picture.max()), labels)
    image, affine = dataset.load_image(case)
    plane = "coronal" if "coronal" in title or dataset.name == "totalseg" else "axial"
    sides = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, affine)).header.get_zooms()
    cuts = [_cut(apply_orientation(array, io_orientation(affine)), PLANES[plane]) for array in (image[0], labels)]
    number = _fullest(cuts[1])
    grey, shown = (_square(cut[number], sides, PLANES[plane]) for cut in cuts)
    is_ct = image.min() < -500
    low, high = WINDOWS.get(dataset.name, ABDOMEN_HU) if is_ct else (0, np.percentile(image, 99.5))
    return Panel(title, np.clip((grey - low) / (high - low), 0, 1), shown)


def _cut(volume: np.ndarray, axis: int) -> np.ndarray:
    """RAS [X, Y, Z] → [slices, H, W] with the patient's right on the left, the front or the head above."""
    return np.moveaxis(volume, axis, 0)[:, ::-1, ::-1].transpose(0, 2, 1)


def _fullest(labels: np.ndarray) -> int:
    middle = (len(labels) - 1) / 2
    return max(range(len(labels)), key=lambda index: (len(np.unique(labels[index])), -abs(index - middle)))


def _square(cut: np.ndarray, sides: tuple[float, ...], axis: int) -> np.ndarray:
    """Pixels repeated so that both sides show the same millimetres."""
    width, height = (sides[other] for other in range(3) if other != axis)
    rows = np.round(np.arange(round(cut.shape[0] * height / width)) * width / height).astype(int)
    return cut[np.minimum(rows, len(cut) - 1)]


def draw(found: list[Panel]) -> bytes:
    """All panels on one sheet, as PNG."""
    rows = -(-len(found) // COLUMNS)
    figure, axes = plt.subplots(rows, 2 * COLUMNS, figsize=(2.2 * COLUMNS, 1.28 * rows), dpi=74)
    for axis in axes.flat:
        axis.axis("off")
    colours = plt.get_cmap("tab20")(NOT_GREY[np.arange(256) * 7 % len(NOT_GREY)])  # neighbours are far apart in colour
    for index, shown in enumerate(found):
        left, right = axes.flat[2 * index], axes.flat[2 * index + 1]
        for axis in (left, right):
            axis.imshow(shown.picture, cmap="gray", vmin=0, vmax=1)
        over = colours[shown.labels.astype(int) % 256]
        over[..., 3] = 0.6 * (shown.labels > 0)
        right.imshow(over, interpolation="nearest")
        left.set_title(shown.title, fontsize=8, loc="left", pad=2)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.965, 0.03, 0.16)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/phantoms.png")
    arguments = parse(parser, small={"out": None})
    names = sorted(set(phantoms.available_phantoms()) & set(available_datasets()))
    names = names[:2] if arguments.small else names
    with tempfile.TemporaryDirectory() as folder:
        sheet = draw([shown for name in names for shown in panels(name, Path(folder) / name)])
    write_ratios(arguments, [])  # a picture has no speed
    if arguments.out:
        with atomic_path(arguments.out) as temporary:
            temporary.write_bytes(sheet)
    print(f"{arguments.out or 'not kept'}: {len(sheet) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
