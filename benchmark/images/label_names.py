"""What label values are called: `{"1": "liver"}` in JSON or YAML, and nnU-Net's dataset.json in both versions."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import InputError
from benchmark.progress import say

LARGEST_LABEL = 2**22  # counts take room for every value up to the largest one
IGNORE_NAME = "ignore"  # nnU-Net v2: voxels that nobody labelled; no class, not learned from, not scored
EXPECTED = '{"1": "liver", …} or the labels of a dataset.json of nnU-Net, without regions'
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class LabelNames:
    """Label values and their names, background left out.

    Attributes:
        names: value → class name, by value.
        ignore: the value of voxels that nobody labelled, where there is one.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    ignore: int | None = None


def read_text(path: Path) -> str:
    """A text in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark, as Windows programs write it."""
    content = path.read_bytes()
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding)


def read_structured(path: Path) -> Any:
    """The content of a JSON or YAML file; a trailing comma, which YAML allows, does no harm.

    Raises:
        InputError: it cannot be read as either, or gives one key twice.
    """
    try:
        text = read_text(path)
        try:
            return json.loads(text, object_pairs_hook=_without_duplicates)
        except json.JSONDecodeError:
            return yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            "The labels file cannot be read", where=path, expected="JSON or YAML in UTF-8", found=str(error)[:200]
        ) from error


def read_labels_file(path: Path) -> LabelNames:
    """Names and ignore label of a labels file.

    Raises:
        InputError: if the file is absent, is none of the known forms, names no class, or has one name or value twice;
            for regions (a name for several values), which are no classes.
    """
    content = read_structured(path)
    if isinstance(content, dict) and "labels" in content and not str(content["labels"]).isdecimal():
        content = content["labels"]
    if not isinstance(content, dict):
        raise _other_form(path, content)
    regions = [str(name) for name, value in content.items() if isinstance(value, list) and len(value) != 1]
    if regions:
        raise InputError(
            "The labels file names regions, which are not scored",
            where=path,
            expected=EXPECTED,
            found=", ".join(f"{name}: {content[name]}" for name in regions[:5]),
            remedy="give the labels that the files hold, one name for each value",
        )
    pairs = [_value_and_name(key, value, path, content) for key, value in content.items()]
    _check_unique([value for value, _ in pairs], "one value for several names", path)
    for name in (name for value, name in pairs if not value and "background" not in name.lower()):
        say(f"{path}: label 0, {name}, counts as background")
    names = {value: name for value, name in sorted(pairs) if value}
    ignore = next((value for value, name in names.items() if name.strip().lower() == IGNORE_NAME), None)
    if ignore is not None:
        del names[ignore]
    _check_unique(list(names.values()), "one name for several values", path)
    if not names:
        raise InputError(
            "The labels file names no class",
            where=path,
            expected="one name for each value above 0",
            found=str(content)[:120],
        )
    if ignore is not None and ignore < max(names):
        raise InputError(
            "The ignore label is not the highest value",
            where=path,
            expected=f"above {max(names)} (nnU-Net's rule)",
            found=ignore,
        )
    return LabelNames(names, ignore)


def with_ignore(labels: LabelNames, value: int | None, *, where: Path) -> LabelNames:
    """The labels with another ignore label, where one is given.

    Raises:
        InputError: the value is a class, or the file names another.
    """
    if value is None:
        return labels
    if value in labels.names or labels.ignore not in (None, value):
        known = labels.names.get(value, f"{IGNORE_NAME}: {labels.ignore}")
        raise InputError("the ignore label contradicts the labels file", where=where, expected=known, found=value)
    return LabelNames(labels.names, value)


def _value_and_name(key: Any, value: Any, path: Path, content: Any) -> tuple[int, str]:
    if isinstance(value, list):
        value = value[0]
    if str(key).isdecimal() and isinstance(value, str):
        value, key = key, value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) > LARGEST_LABEL or not isinstance(key, str):
        raise _other_form(path, content)
    return int(value), key


def _check_unique(values: list[Any], problem: str, path: Path) -> None:
    twice = sorted(str(value) for value, count in Counter(values).items() if count > 1)
    if twice:
        raise InputError(
            f"The labels file gives {problem}",
            where=path,
            expected="one name for each value above 0",
            found=", ".join(twice),
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    if twice:
        raise ValueError(f"one key twice: {', '.join(twice)}")
    return dict(pairs)


def _other_form(path: Path, content: Any) -> InputError:
    return InputError(
        "The labels file has another form than expected", where=path, expected=EXPECTED, found=str(content)[:120]
    )
