"""What the raw files of a dataset hold: a digest per case, read anew only where a file's size or time has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.datasets import Case, Dataset
from benchmark.files import file_digest, value_digest
from benchmark.lineage import Made, prepared_case
from benchmark.workers import available_processes


class RawCase(NamedTuple):
    """Digests of one case.

    Attributes:
        stat: of names, sizes and times of its files, and of its ignore label: as long as it is equal, the others are.
        images, labels: of the content of its image and of its label files, of these with the ignore label.
        about: of what the dataset tells of it (patient, attributes, and its part where that is no choice of the user).
    """

    stat: str
    images: str
    labels: str
    about: str


def raw_cases(dataset: Dataset, root: Path, known: Mapping[str, Any] | None = None) -> dict[str, RawCase]:
    """The cases under `root` as they are now.

    Args:
        known: what an earlier call found, by case id; cases with the same names, sizes and times are not read again.

    Raises:
        InputError: the folder is not in the dataset's layout.
    """
    earlier = {case: RawCase(*digests) for case, digests in (known or {}).items()}
    cases = dataset.find_cases(root)
    with ThreadPoolExecutor(available_processes()) as threads:
        part = (lambda case: None) if dataset.chosen_split else (lambda case: case.split)
        digests = threads.map(lambda case: _raw_case(case, root, earlier.get(case.id), part(case)), cases)
        return {case.id: found for case, found in zip(cases, digests, strict=True)}


def _raw_case(case: Case, root: Path, earlier: RawCase | None, part: str | None) -> RawCase:
    ignore = [] if case.ignore is None else [case.ignore]
    stat = value_digest([*(_stat(path, root) for path in (*case.images, *case.labels)), *ignore])
    about = value_digest([case.patient, part, case.attributes])
    if earlier is not None and earlier.stat == stat:
        return earlier._replace(about=about)
    return RawCase(stat, _content(case.images), _content(case.labels, *ignore), about)


def _stat(path: Path, root: Path) -> list[object]:
    found = path.stat()
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return [str(name), found.st_size, found.st_mtime_ns]


def _content(paths: Iterable[Path], *further: int) -> str:
    return value_digest([*(file_digest(path) for path in paths), *further])


def content_digest(cases: Mapping[str, RawCase]) -> str:
    """Of a whole dataset: whatever its files are called, wherever they lie."""
    return value_digest({case: list(found[1:]) for case, found in sorted(cases.items())})


def training_content(cases: Mapping[str, RawCase], split: Mapping[str, Any]) -> str:
    """Of the training cases of a split, from which a preparation may be planned."""
    return content_digest({case: cases[case] for case in split["train"]})


class PreparedDigests(NamedTuple):
    """Digests of one prepared case.

    Attributes:
        image: of what a prediction reads.
        case: of image and labels, which a training reads.
        reference: of what a prediction is scored against.
    """

    image: str
    case: str
    reference: str


def prepared_digests(raw: RawCase, store: Made, *, part: str, patch: object) -> PreparedDigests:
    """What a prepared case is made of.

    Args:
        raw: its raw files.
        store: the settings of the store, as `benchmark.lineage` writes them.
        part, patch: the split that it is in, and the patch that its crop is enlarged to a multiple of.
    """
    image = {"images": raw.images, "about": raw.about}
    whole = {**image, "labels": raw.labels}
    return PreparedDigests(
        prepared_case(store, part=part, patch=patch, files=image),
        prepared_case(store, part=part, patch=patch, files=whole),
        prepared_case(store, part="", patch=None, files={"labels": raw.labels}),
    )


def digest_of_cases(digests: Mapping[str, PreparedDigests], kind: str) -> str:
    """Of several prepared cases: as "image", "case" or "reference"."""
    return value_digest({case: getattr(found, kind) for case, found in sorted(digests.items())})
