"""Slices for qualitative panels, read from raw images, references and predictions on the raw grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from benchmark.datasets import Case, get_dataset
from benchmark.evidence.figure_data import NotDrawable, Request
from benchmark.evidence.figures.qualitative import Panel, best_slice
from benchmark.files import read_json
from benchmark.images.labels import read_label_file
from benchmark.scoring.conventions import get_convention
from benchmark.settings import RunConfig

REFERENCE = "reference"


def panels_of(request: Request) -> tuple[list[Panel], list[str], dict[int, str]]:
    """Panels, their columns and the structures' names: the figure's cases, each on its reference's fullest slice.

    The figure's parameters: `cases` (ids) or `count` (the first predicted ones of each dataset, 2 by default), and
    `window` (grey values shown as black and white). Structures of a second dataset are numbered on from the first's.
    """
    if request.published_only:
        raise NotDrawable("the paper prints no numbers of this figure")
    panels: list[Panel] = []
    rows: dict[str, None] = {}
    names: dict[int, str] = {}
    for runs in _predicted_runs(request):
        config = request.catalog.run(next(iter(runs.values())), request.scale)
        predicted = read_json(request.layout.predicted(config.run))["cases"]
        wanted = request.parameter("cases", sorted(predicted)[: request.parameter("count", 2)])
        root = Path(read_json(request.layout.source(config.dataset))["root"])
        cases = {case.id: case for case in get_dataset(config.dataset).find_cases(root)}
        panels += [_panel(request, config, runs, cases[name], first=len(names)) for name in wanted if name in cases]
        labels = config.labels or get_dataset(config.dataset).label_names
        names |= dict(enumerate(labels, start=len(names) + 1))
        rows |= dict.fromkeys(runs)
    if not panels:
        raise NotDrawable("not run")
    return panels, [REFERENCE, *(row for row in request.target.rows if row in rows)], names


def _predicted_runs(request: Request) -> list[dict[str, str]]:
    """Row → run of each dataset of which anything is predicted; a figure's columns name the datasets' protocols."""
    by_dataset: dict[str, dict[str, str]] = {}
    for column in request.target.columns or [None]:
        for row in request.target.rows:
            for run in request.catalog.cell_runs(request.target, row, column)[:1]:
                if Path(request.layout.predicted(run)).is_file():
                    dataset = request.catalog.run(run, request.scale).dataset
                    by_dataset.setdefault(dataset, {})[row] = run
    return list(by_dataset.values())


def _panel(request: Request, config: RunConfig, runs: dict[str, str], case: Case, *, first: int) -> Panel:
    dataset = get_dataset(config.dataset)
    image, affine = dataset.load_image(case)
    if get_convention(config.convention).instances is not None:
        reference = dataset.load_labels(case, config.labels)[0]  # references are instances: show what networks learn
    else:
        store = Path(request.layout.prepared_for(config)).parent
        reference = _labels(store / "references" / f"{case.id}.nii.gz")
    view = View.of(reference, affine)
    labels = {REFERENCE: view.plane(reference)}
    for row, run in runs.items():
        path = Path(request.layout.predicted(run)).parent / "predictions" / f"{case.id}.nii.gz"
        if path.is_file():
            labels[row] = view.plane(_labels(path))
    grey = [view.plane(channel) for channel in image]
    window = request.parameter("window", ())
    return Panel(
        name=case.id if view.index is None else f"{case.id}, slice {view.index}",
        image=np.stack(grey, axis=-1) if len(grey) == 3 else grey[0],
        labels={name: np.where(plane > 0, plane.astype(np.int64) + first, 0) for name, plane in labels.items()},
        aspect=view.aspect,
        window=tuple(window) or None,
    )


@dataclass(frozen=True)
class View:
    """An axial slice as radiologists look at it: the patient's front at the top, the patient's right at the left.

    Attributes:
        turn: nibabel orientation that takes the raw grid to LPS; None for two-dimensional images, shown as they are.
        index: slice in LPS.
        aspect: height of a pixel over its width.
    """

    turn: NDArray | None = None
    index: int | None = None
    aspect: float = 1.0

    @classmethod
    def of(cls, labels: NDArray, affine: NDArray) -> View:
        """The view of the slice that shows most of a label map [X, Y, Z] on the grid of `affine`."""
        if labels.ndim != 3:
            return cls()
        turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt("LPS"))
        sizes = voxel_sizes(affine @ orientations.inv_ornt_aff(turn, labels.shape))
        index = best_slice(orientations.apply_orientation(labels, turn))
        return cls(turn, index, float(sizes[1] / sizes[0]))

    def plane(self, volume: NDArray) -> NDArray:
        """The slice [rows, columns] of a volume on the raw grid."""
        if self.turn is None:
            return volume
        return orientations.apply_orientation(volume, self.turn)[:, :, self.index].T


def _labels(path: Path) -> NDArray:
    return read_label_file(path)[0].squeeze()
