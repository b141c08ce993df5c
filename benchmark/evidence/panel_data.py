"""Slices for qualitative panels, read from raw images, references and predictions on the raw grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from benchmark.datasets import Case, get_dataset
from benchmark.errors import InputError
from benchmark.evidence.figure_data import NotDrawable, Request
from benchmark.evidence.figures.qualitative import Panel, best_slice
from benchmark.files import read_json
from benchmark.images.labels import read_label_file
from benchmark.scoring.images import find_cases
from benchmark.settings import RunConfig

REFERENCE = "reference"
REASONS = 2  # shown in one place


class Sheet(NamedTuple):
    """What a figure of panels shows.

    Attributes:
        panels: one per case.
        columns: the reference, then every row of the target.
        names: number → structure; a structure of several datasets has one number, the first dataset's are its labels.
        missing: (panel's name, column) → why there is no prediction.
        notes: what is not shown at all, and why.
    """

    panels: list[Panel]
    columns: list[str]
    names: dict[int, str]
    missing: dict[tuple[str, str], str]
    notes: list[str]


class Part(NamedTuple):
    """Cases of one dataset in a figure: how many, by which runs (row → run), and which of them."""

    title: str
    most: int
    runs: dict[str, str]
    attributes: Mapping[str, Any]


def panels_of(request: Request) -> Sheet:
    """Panels of a figure: its cases, each on its reference's fullest slice.

    The figure's parameters: `panels` (column → cases of it, in the figure's order) or `count` (cases of each dataset, 2
    by default); `attributes` (column → what its cases have, e.g. {modality: MR}); `cases` (ids in place of the first
    ones); `window` (grey values shown as black and white). A dataset without any prediction is named in the notes.

    Raises:
        NotDrawable: nothing is predicted, or only published numbers are asked for.
    """
    if request.published_only:
        raise NotDrawable("the paper prints no numbers of this figure")
    sheet = Sheet([], [REFERENCE, *request.target.rows], {}, {}, [])
    numbers: dict[str, int] = {}  # structure → its number in the figure
    for part in _parts(request):
        predicted = {row: run for row, run in part.runs.items() if _is_predicted(request, run)}
        if not predicted:
            sheet.notes.append(f"{part.title}: not run")
            continue
        config = request.catalog.run(next(iter(predicted.values())), request.scale)
        labels = config.labels or get_dataset(config.dataset).label_names
        shown = np.array([0, *(numbers.setdefault(name, len(numbers) + 1) for name in labels)])
        cases = _cases(request, config, part)
        if len(cases) < part.most and "cases" not in _parameters(request):
            sheet.notes.append(f"{part.title}: {len(cases)} of {part.most} cases")
        for case in cases:
            panel = _panel(request, config, predicted, case, shown)
            sheet.panels.append(panel)
            absent = {row: run for row, run in part.runs.items() if row not in panel.labels}
            sheet.missing.update({(panel.name, row): _reason(request, {row: run}) for row, run in absent.items()})
    if not sheet.panels:
        elsewhere = {run: run for run in request.layout.predictions}
        raise NotDrawable(_reason(request, elsewhere) if elsewhere else "not run")
    sheet.names.update({number: name for name, number in numbers.items()})
    return sheet


def _parameters(request: Request) -> Mapping[str, Any]:
    return request.target.figure.parameters if request.target.figure else {}


def _parts(request: Request) -> list[Part]:
    """The figure's datasets in order: its parameter `panels` by column, else one part for every dataset."""
    wanted, attributes = _parameters(request).get("panels"), _parameters(request).get("attributes", {})
    parts: dict[str, Part] = {}
    for column in wanted or request.target.columns or [None]:
        found = {row: request.catalog.cell_runs(request.target, row, column)[:1] for row in request.target.rows}
        runs = {row: run for row, named in found.items() for run in named}
        if runs:
            dataset = request.catalog.run(next(iter(runs.values())), request.scale).dataset
            count = wanted[column] if wanted else request.parameter("count", 2)
            key = column if wanted else dataset
            parts.setdefault(key, Part(column or dataset, count, runs, attributes.get(column, {})))
    return list(parts.values())


def _is_predicted(request: Request, run: str) -> bool:
    if request.layout.is_made_here(run):
        return Path(request.layout.predicted(run)).is_file()
    return not request.layout.no_predictions(run)


def _reason(request: Request, runs: Mapping[str, str]) -> str:
    """Why none of some runs has a prediction to show."""
    layout, catalog = request.layout, request.catalog
    reasons = (layout.no_predictions(run) or catalog.made_elsewhere(run) or "not run" for run in runs.values())
    distinct = list(dict.fromkeys(reasons))
    more = [f"and {len(distinct) - REASONS} more"] if len(distinct) > REASONS else []
    return ", ".join([*distinct[:REASONS], *more])


def _label_maps(request: Request, run: str) -> dict[str, Path]:
    """Case → label map of a run that is predicted."""
    folder = Path(request.layout.predictions_of(run))
    if not request.layout.is_made_here(run):
        return find_cases(folder)
    return {case: folder / f"{case}.nii.gz" for case in read_json(request.layout.predicted(run))["cases"]}


def cases_at(source: Path, dataset: str) -> dict[str, Case]:
    """Id → raw case of a dataset, found where its source.json says."""
    root = source.parent / read_json(source)["root"]  # a root that is absolute stays it
    return {case.id: case for case in get_dataset(dataset).find_cases(root)}


def _cases(request: Request, config: RunConfig, part: Part) -> list[Case]:
    """The cases of a part: those that the figure names, else the first predicted ones with its attributes."""
    predicted, split = set(_label_maps(request, config.run)), Path(request.layout.split(config.dataset))
    if split.is_file():  # somebody may have handed in label maps of training cases as well
        predicted &= set(config.inference.cases(read_json(split)))
    cases = cases_at(Path(request.layout.source(config.dataset)), config.dataset)
    named = request.parameter("cases", sorted(predicted))
    fitting = [
        cases[name] for name in named if name in cases and part.attributes.items() <= cases[name].attributes.items()
    ]
    return fitting if "cases" in _parameters(request) else fitting[: part.most]


def _panel(request: Request, config: RunConfig, runs: dict[str, str], case: Case, shown: NDArray) -> Panel:
    """One case; `shown`: each label's number in the figure."""
    dataset = get_dataset(config.dataset)
    image, affine = dataset.load_image(case)
    reference = reference_of(config, case, Path(request.layout.prepared_for(config)).parent)
    view = View.of(reference, affine)
    labels = {REFERENCE: view.plane(reference)}
    for row, run in runs.items():
        path = _label_maps(request, run).get(case.id)
        if path and path.is_file():
            labels[row] = view.plane(label_map(path, like=reference))
    window = request.parameter("window", ())
    return Panel(
        name=case.id if view.index is None else f"{case.id}, slice {view.index}",
        image=view.picture(image),
        labels={name: shown[plane.astype(np.int64)] for name, plane in labels.items()},
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
    def of(cls, labels: NDArray, affine: NDArray, choose: Callable[[NDArray], int] = best_slice) -> View:
        """The view of the slice that `choose` takes of a label map [X, Y, Z] in LPS, here on the grid of `affine`; by
        default that which shows most of it."""
        if labels.ndim != 3:
            return cls()
        turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt("LPS"))
        sizes = voxel_sizes(affine @ orientations.inv_ornt_aff(turn, labels.shape))
        index = choose(orientations.apply_orientation(labels, turn))
        return cls(turn, index, float(sizes[1] / sizes[0]))

    def plane(self, volume: NDArray) -> NDArray:
        """The slice [rows, columns] of a volume on the raw grid."""
        if self.turn is None:
            return volume
        return orientations.apply_orientation(volume, self.turn)[:, :, self.index].T

    def picture(self, image: NDArray) -> NDArray:
        """The slice of an image [C, *spatial]: [rows, columns, 3] of three channels, else the first one's."""
        grey = [self.plane(channel) for channel in image]
        return np.stack(grey, axis=-1) if len(grey) == 3 else grey[0]


def reference_of(config: RunConfig, case: Case, store: Path) -> NDArray:
    """The reference of a case on the raw grid, from the prepared store's folder.

    Where references are instances, the structures that networks learn are shown instead.
    """
    if get_dataset(config.dataset).instances:
        return get_dataset(config.dataset).load_labels(case, config.labels)[0]
    return label_map(store / "references" / f"{case.id}.nii.gz")


def label_map(path: Path, like: NDArray | None = None) -> NDArray:
    """The labels in a file, without axes of length one.

    Raises:
        InputError: they are not as many as those of its reference `like`.
    """
    labels = read_label_file(path)[0].squeeze()
    if like is not None and labels.shape != like.shape:
        raise InputError(
            "a prediction is not as large as its reference", where=path, expected=like.shape, found=labels.shape
        )
    return labels
