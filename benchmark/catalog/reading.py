"""Reading the data files of paper_tables: yaml and csv, with messages that name file, key and what is allowed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from benchmark.errors import InputError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


TEXT = "tag:yaml.org,2002:str"


class _UniqueKeyLoader(yaml.CSafeLoader):
    """A key that stands twice in a yaml mapping is an error, not a silent overwrite."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    texts = {key.value for key, _ in node.value if key.tag == TEXT}
    if len(texts) < len(node.value):  # not all are texts that differ
        keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a yaml file.

    Raises:
        InputError: the file is absent, is not yaml, repeats a key, or is not a mapping.
    """
    try:
        value = yaml.load(_text(path), Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"not valid yaml: {problem}", where=where, remedy="correct this line") from None
    except yaml.YAMLError as error:
        raise InputError(f"not valid yaml: {error}", where=path) from None
    if not isinstance(value, dict):
        raise InputError("a mapping was expected at the top", where=path, found=type(value).__name__)
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("a file of paper_tables is missing", where=path) from None
    except UnicodeDecodeError as error:
        raise InputError(
            "not a text file", where=path, expected="UTF-8", found=f"byte {error.start}: {error.reason}"
        ) from None


def read_csv(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Rows of a csv file as dictionaries of strings.

    Raises:
        InputError: the file is absent, its header is not `columns`, or a row has another number of fields.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    header = next(reader, None)
    if header != columns:
        raise InputError("the header of a csv file differs", where=path, expected=columns, found=header)
    rows = []
    for number, fields in enumerate(reader, start=2):
        if len(fields) != len(columns):
            raise InputError(
                "a csv row has the wrong number of fields", where=f"{path}:{number}", expected=columns, found=fields
            )
        rows.append(dict(zip(columns, fields, strict=True)))
    return rows


def validate(model: type[Model], value: Any, *, where: str) -> Model:
    """`value` as a typed `model`.

    Raises:
        InputError: naming the file, every wrong key, what was found and what is allowed there.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise InputError("a setting is wrong:\n    " + "\n    ".join(lines), where=where) from None


def _explain(model: type[BaseModel], problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        allowed = _allowed_keys(model, problem["loc"])
        hint = did_you_mean(str(problem["loc"][-1]), allowed)
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "value_error":
        # ours, and says what was found where that helps; the input may be a whole file
        return f"{key}: {problem['ctx']['error']}".removeprefix(": ")
    described = _description(model, problem["loc"])
    return f"{key}: {problem['msg']} (found: {problem['input']!r})" + (f"\n      {described}" if described else "")


def _allowed_keys(model: type[BaseModel], location: tuple) -> list[str]:
    """Field names of the (nested) model in which the last part of `location` stands."""
    return list(getattr(_model_at(model, location[:-1]), "model_fields", {}))


def _description(model: type[BaseModel], location: tuple) -> str | None:
    """What the field is for whose value, or a part of it, stands at `location`; None where nothing says so."""
    for length in range(len(location), 0, -1):
        fields = getattr(_model_at(model, location[: length - 1]), "model_fields", {})
        if field := fields.get(location[length - 1]):
            return field.description
    return None


def _model_at(model: type[BaseModel], location: tuple) -> Any:
    current: Any = model
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        current = _inner_model(field.annotation) if field else current
    return current


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def pick(choices: Mapping[str, Value], name: str, kind: str, where: str | Path | None) -> Value:
    """The entry of that name.

    Raises:
        InputError: there is none; the message names the nearest one.
    """
    if name not in choices:
        problem = f"unknown {kind} {name!r}{did_you_mean(name, choices)}"
        raise InputError(problem, where=where, expected="one of " + ", ".join(sorted(choices)))
    return choices[name]
