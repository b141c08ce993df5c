"""Whether a dataset.json, as many releases bring one, numbers the structures as we do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmark.datasets.base import Fault
from benchmark.errors import InputError
from benchmark.images.label_names import read_labels_file


def order_faults(path: Path, class_numbers: Mapping[str, int]) -> Iterator[Fault]:
    """A dataset.json that cannot be read, or numbers our structures otherwise; nothing where there is none."""
    if not path.is_file():
        return
    try:
        labels = read_labels_file(path)
    except InputError as error:
        yield Fault("", str(path), error.problem, str(error.expected), str(error.found))
        return
    numbers = {_plain(name): number for name, number in class_numbers.items()}
    for value, name in labels.names.items():
        number = numbers.get(_plain(name))
        if number is not None and value != number:
            yield Fault("", str(path), "another label order", f"{name} is {number}", f"{name} is {value}")
    if labels.ignore is not None and labels.ignore <= len(class_numbers):
        yield Fault("", str(path), "the ignore label is a class", f"above {len(class_numbers)}", str(labels.ignore))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
