"""How much a score depends on the convention: real references against copies with planted errors.

    python speed/scoring_conventions.py --data "$RETABLE_DATA" --docs docs/scoring.md

Reads the TotalSegmentator sample (2 CTs, 117 classes), ACDC (40 volumes) and DSB2018 (60 images), plants errors and
scores them under every convention that applies. Replaces what lies between the markers of the document, or prints.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmark.files import write_text
from benchmark.scoring.conventions import Convention, load_conventions
from benchmark.scoring.folders import score_folders
from benchmark.scoring.images import Geometry, read_geometry, read_labels, write_labels
from benchmark.scoring.instances import encode_boundaries
from benchmark.scoring.pairs import pair_cases
from benchmark.scoring.score import applicable, summary_table
from speed.table import parse, write_ratios

BEGIN, END = "<!-- conventions: begin -->", "<!-- conventions: end -->"
Error = Callable[[np.ndarray, int], np.ndarray | None]  # (labels, number of the case) → prediction, None for no file


def shifted(labels: np.ndarray, number: int) -> np.ndarray:
    """Two voxels along the first axis."""
    moved = np.zeros_like(labels)
    moved[2:] = labels[:-2]
    return moved


def eroded(labels: np.ndarray, number: int) -> np.ndarray:
    """One voxel off every structure."""
    same = ndimage.minimum_filter(labels, size=3) == ndimage.maximum_filter(labels, size=3)
    return np.where(same, labels, 0)


def relabelled(labels: np.ndarray, number: int) -> np.ndarray:
    """Every structure present takes the label of the next one present: one shift in a label table."""
    present = np.unique(labels[labels > 0])
    table = np.arange(int(labels.max()) + 1, dtype=labels.dtype)
    table[present] = np.roll(present, -1)
    return table[labels]


def third_missed(labels: np.ndarray, number: int) -> np.ndarray:
    """Every third structure present is not found; which ones differs from case to case."""
    present = np.unique(labels[labels > 0])
    return np.where(np.isin(labels, present[number % 3 :: 3]), 0, labels)


def invented(labels: np.ndarray, number: int, *, classes: int) -> np.ndarray:
    """One voxel of every class in a corner, present in the reference or not."""
    prediction = labels.copy()
    prediction.ravel()[:classes] = np.arange(1, classes + 1)
    return prediction


def half_missing(labels: np.ndarray, number: int) -> np.ndarray | None:
    """Every second case has no prediction."""
    return labels if number % 2 == 0 else None


def label_errors(classes: int) -> dict[str, Error]:
    return {
        "reference": lambda labels, number: labels,
        "shifted": shifted,
        "eroded": eroded,
        "relabelled": relabelled,
        "third missed": third_missed,
        "invented": partial(invented, classes=classes),
        "half missing": half_missing,
    }


INSTANCE_ERRORS: dict[str, Error] = {
    "reference": lambda labels, number: encode_boundaries(labels),
    "interior only": lambda labels, number: (encode_boundaries(labels) == 1).astype(np.uint8),
    "all foreground": lambda labels, number: (labels > 0).astype(np.uint8),
    "third missed": lambda labels, number: encode_boundaries(third_missed(labels, number)),
    "half missing": lambda labels, number: encode_boundaries(labels) if number % 2 == 0 else None,
}


def merge_totalsegmentator(data: Path, out: Path) -> dict[int, str]:
    """One label map per subject from its 117 binary files."""
    subjects = sorted((data / "TotalSegmentator_v2_sample").glob("s*/segmentations"))
    names = sorted(path.name.removesuffix(".nii.gz") for path in subjects[0].glob("*.nii.gz"))
    for subject in subjects:
        image = nib.load(subject / f"{names[0]}.nii.gz")
        merged = np.zeros(image.shape, np.uint8)
        for value, name in enumerate(names, start=1):
            merged[np.asanyarray(nib.load(subject / f"{name}.nii.gz").dataobj) > 0] = value
        geometry = Geometry(merged.shape, tuple(image.header.get_zooms()), image.affine)
        write_labels(out / f"{subject.parent.name}.nii.gz", merged, geometry=geometry)
    return dict(enumerate(names, start=1))


def plant(references: Sequence[Path], error: Error, out: Path) -> None:
    for number, path in enumerate(references):
        prediction = error(read_labels(path).array, number)
        if prediction is not None:
            write_labels(out / path.name, prediction, geometry=read_geometry(path))


def table_of(
    references: Path, errors: dict[str, Error], labels: dict[int, str], metric: str, scratch: Path
) -> list[str]:
    """Markdown table conventions × errors."""
    cells: dict[str, list[str]] = {}
    paths = sorted(references.iterdir())
    for name, error in errors.items():
        folder = scratch / f"{references.name}-{metric}-{name.replace(' ', '_')}"
        folder.mkdir()
        plant(paths, error, folder)
        cases = pair_cases(references, folder)
        conventions: list[Convention] = applicable(load_conventions().values(), [metric], labels, cases)
        out = folder.with_suffix(".parquet")
        score_folders(cases, out, labels=labels, conventions=conventions, run=name, metrics=[metric])
        for convention, scored, summary in summary_table(out, conventions):
            if scored == metric:
                cells.setdefault(convention, []).append("-" if np.isnan(summary.mean) else f"{summary.mean:.3f}")
    lines = [f"| {metric} | " + " | ".join(errors) + " |", "|---" * (len(errors) + 1) + "|"]
    return [*lines, *(f"| {name} | " + " | ".join(row) + " |" for name, row in cells.items())]


def all_tables(data: Path, scratch: Path) -> str:
    folders = {name: scratch / name for name in ("totalsegmentator", "acdc", "dsb2018")}
    for folder in folders.values():
        folder.mkdir()
    structures = merge_totalsegmentator(data, folders["totalsegmentator"])
    for path in data.glob("ACDC/database/training/*/*_gt.nii.gz"):
        (folders["acdc"] / path.name).symlink_to(path)
    for path in data.glob("DSB2018_CellSegLayout/*/labels/*_label.tiff"):
        (folders["dsb2018"] / path.name).symlink_to(path)
    lines = []
    for title, folder, labels in (
        ("TotalSegmentator sample, 2 CTs, 117 classes (61 and 31 present)", "totalsegmentator", structures),
        ("ACDC, 40 volumes, 3 classes", "acdc", {1: "RV", 2: "MYO", 3: "LV"}),
    ):
        lines += ["", f"**{title}**"]
        for metric in ("dsc", "nsd", "hd95"):
            lines += ["", *table_of(folders[folder], label_errors(len(labels)), labels, metric, scratch)]
    lines += ["", "**DSB2018, 60 images, instances**"]
    lines += ["", *table_of(folders["dsb2018"], INSTANCE_ERRORS, {1: "interior", 2: "boundary"}, "f1", scratch)]
    return "\n".join([*lines, ""])


def generated_table(scratch: Path) -> str:
    """The errors planted in one generated volume: dsc alone."""
    labels = np.zeros((32, 32, 32), np.uint8)
    labels[4:14, 4:28, 4:28], labels[16:28, 4:28, 4:28] = 1, 2
    (scratch / "generated").mkdir()
    write_labels(scratch / "generated/one.nii.gz", labels, geometry=Geometry(labels.shape, (1.0, 1.0, 1.0)))
    names = {1: "one", 2: "two"}
    return "\n".join(table_of(scratch / "generated", label_errors(2), names, "dsc", scratch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RETABLE_DATA"))
    parser.add_argument("--docs", type=Path, help="document whose marked part is replaced; default: print")
    arguments = parse(parser, small={})
    with tempfile.TemporaryDirectory() as scratch:
        tables = generated_table(Path(scratch)) if arguments.small else all_tables(Path(arguments.data), Path(scratch))
    write_ratios(arguments, [])  # scores are no speed
    if arguments.docs is None:
        print(tables)
        return
    before, _, rest = arguments.docs.read_text(encoding="utf-8").partition(BEGIN)
    write_text(arguments.docs, before + BEGIN + "\n" + tables + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
