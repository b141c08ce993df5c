"""Every fault of every raw case, in one table, before anything is built on them."""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from benchmark import lineage
from benchmark.data.source import load_source
from benchmark.datasets import Case, Dataset, Fault, get_dataset
from benchmark.datasets.base import unknown_values
from benchmark.errors import InputError
from benchmark.files import DISK_FULL, atomic_path, write_json
from benchmark.images.files import UNREADABLE
from benchmark.images.geometry import same_affine
from benchmark.progress import say, track
from benchmark.workers import map_processes

COLUMNS = ("case", "file", "problem", "expected", "found")
FAULTS_SHOWN = 20
# Hounsfield units: scanners pad with -1024 to -8192 and write 16 bits; a CT beyond was scaled wrongly.
POSSIBLE_VALUES = {"CT": (-8192, 65535)}


def verify(dataset: Dataset, root: Path, *, processes: int | None = None) -> list[Fault]:
    """All faults under `root`, sorted by case and file; an empty list is a clean bill.

    Raises:
        InputError: `root` is not in the data set's layout at all.
    """
    cases = dataset.find_cases(root)
    faults = list(dataset.find_layout_faults(root, cases))
    if not cases:
        faults.append(Fault("", str(root), "0 cases", "at least one case", "none"))
    contents = defaultdict(list)
    checked = map_processes(partial(check_case, dataset.name), cases, processes=processes)
    for case, content, found in track(checked, total=len(cases), description=f"verifying {dataset.name}"):
        faults += found
        if content is not None:
            contents[content].append(case)
    for same in contents.values():
        first, *others = sorted(same, key=lambda case: case.id)
        faults += [
            Fault(case.id, str(case.images[0]), "duplicate image", "a different image", f"the voxels of {first.id}")
            for case in others
        ]
    return sorted(faults, key=lambda fault: (fault.case, fault.file, fault.problem))


def check_case(dataset_name: str, case: Case) -> tuple[Case, str | None, list[Fault]]:
    """One case: (case, hash of its voxels or None if unreadable, its faults). Label files are checked all the same."""
    dataset = get_dataset(dataset_name)
    faults = list(dataset.find_case_faults(case))
    content: hashlib.blake2b | None = hashlib.blake2b(digest_size=16)
    geometry = None
    for path in case.images:
        array, affine = _read(dataset.read_file, case, path, faults)
        if array is None or affine is None:
            content = None
            continue
        if content is not None:
            content.update(str(array.shape).encode())
            content.update(np.ascontiguousarray(array).data)
        geometry = (array.shape[: dataset.spatial_dims], affine)
        faults += _image_faults(dataset, case, path, array)
    if not case.labels:
        faults.append(Fault(case.id, str(case.images[0].parent), "no label file", "at least one", "none"))
    might_be_labelled = dataset.empty_labels
    for path in case.labels:
        array, affine = _read(dataset.read_label_file, case, path, faults)
        might_be_labelled |= array is None or bool(array.any())
        if array is not None and affine is not None:
            faults += _label_faults(dataset, case, path, array, affine, geometry)
    if case.labels and not might_be_labelled:
        faults.append(Fault(case.id, str(case.labels[0].parent), "no label", "at least one labelled voxel", "none"))
    return case, None if content is None else content.hexdigest(), faults


def _read(
    reader: Callable[[Path], tuple[np.ndarray, np.ndarray]], case: Case, path: Path, faults: list[Fault]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    try:
        return reader(path)
    except InputError as error:
        problem = "unreadable" if error.problem == UNREADABLE else error.problem
        faults.append(Fault(case.id, str(path), problem, str(error.expected), str(error.found)))
        return None, None


def _image_faults(dataset: Dataset, case: Case, path: Path, array: np.ndarray) -> Iterable[Fault]:
    dimensions = dataset.spatial_dims
    channels_inside = len(case.images) == 1 and len(dataset.channels) > 1
    if array.ndim != dimensions + channels_inside:
        yield Fault(case.id, str(path), f"not {dimensions}-D", f"{dimensions} axes", f"shape {array.shape}")
    elif channels_inside and array.shape[-1] != len(dataset.channels):
        yield Fault(case.id, str(path), "channels differ", ", ".join(dataset.channels), f"{array.shape[-1]} channels")
    elif np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        number = int(np.count_nonzero(~np.isfinite(array)))
        yield Fault(case.id, str(path), "not finite", "finite voxels", f"{number} voxels are NaN or infinite")
    else:
        yield from _value_faults(dataset, case, path, array)


def _value_faults(dataset: Dataset, case: Case, path: Path, array: np.ndarray) -> Iterable[Fault]:
    """Scans of nothing, and values that the modality cannot have measured."""
    lowest, highest = array.min(), array.max()
    possible = POSSIBLE_VALUES.get(dataset.modality)
    if lowest == highest and not dataset.empty_labels:  # there are black frames
        yield Fault(case.id, str(path), "one value everywhere", "an image", f"{lowest}")
    elif possible and not possible[0] <= lowest <= highest <= possible[1]:
        expected = f"{possible[0]} to {possible[1]}"
        yield Fault(case.id, str(path), "impossible values", expected, f"{lowest} to {highest}")


def _label_faults(
    dataset: Dataset,
    case: Case,
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    geometry: tuple[tuple[int, ...], np.ndarray] | None,
) -> Iterable[Fault]:
    if geometry is not None and array.shape != geometry[0]:
        yield Fault(case.id, str(path), "shape differs", f"{geometry[0]} as the image", str(array.shape))
    if geometry is not None and not same_affine(affine, geometry[1]):
        yield Fault(case.id, str(path), "affine differs", _flat(geometry[1]), _flat(affine))
    allowed = dataset.allowed_values(path)
    odd = [value for value in unknown_values(array, allowed) if value != case.ignore]
    if odd:
        expected = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
        yield Fault(case.id, str(path), "unknown label value", expected, str(odd))


def _flat(affine: np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in affine[:3].ravel())


def write_report(path: Path, faults: Iterable[Fault]) -> None:
    """verify.csv: one line per fault; the header alone when there is none.

    Raises:
        InputError: it cannot be written there, or the disk is full.
    """
    try:
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            writer.writerows([getattr(fault, column) for column in COLUMNS] for fault in faults)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise InputError(
            "the disk is full: the report of faults cannot be written",
            where=path,
            remedy="free space and verify again; the first faults are printed above",
        ) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--source", type=Path, required=True, help="source.json written by fetch")
    parser.add_argument("--out", type=Path, required=True, help="verified.json to write; verify.csv goes beside it")
    parser.add_argument("--processes", type=int, help="worker processes (default: the CPUs of this job)")


def main(arguments: argparse.Namespace) -> None:
    """Writes the report, a table of all faults, and the record only if it has none; raises InputError otherwise."""
    dataset = get_dataset(arguments.dataset)
    source = load_source(arguments.source, dataset.name)
    report = arguments.out.with_name("verify.csv")
    faults = verify(dataset, Path(source["root"]), processes=arguments.processes)
    for fault in faults[:FAULTS_SHOWN]:  # before anything is written: the disk may be full
        say(f"{fault.case} {fault.file}: {fault.problem}: expected {fault.expected}, found {fault.found}")
    write_report(report, faults)
    if not faults:
        made = {"source": lineage.digest_of(source["made"]), **lineage.code("verify")}
        write_json(arguments.out, {"dataset": dataset.name, "cases": source["cases"], "made": made})
        return
    raise InputError(
        f"{len(faults)} faults in {len({fault.case for fault in faults})} cases of {dataset.name}",
        where=report,
        remedy="the table lists every fault by file; correct or remove those cases, then verify again",
    )
