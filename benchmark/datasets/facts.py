"""The yaml of a data set, read and checked: its keys are the fields of the class that it describes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import InputError
from benchmark.files import load_yaml

TUPLES = ("channels", "label_names", "test_cases", "val_cases")


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        url: address, pinned to one version of the record.
        name: file name to store it under.
        bytes: exact size; None where no source tells.
        hash: "md5:…" or "sha256:…"; None where nobody published one: the checksum of first sight is kept then.
        unpacked_bytes: estimate of the size unpacked, for the check of free disk space; an archive may not unpack to
            much more. None: unknown, which only an archive with a published hash may be.
        members: glob patterns of the members to unpack.
    """

    url: str
    name: str
    bytes: int | None = None
    hash: str | None = None
    unpacked_bytes: int | None = None
    members: tuple[str, ...] = ("*",)


def read_facts(path: Path, described: type) -> dict[str, Any]:
    """The fields of a `described` data set (a dataclass) that its yaml gives, all but the name.

    Raises:
        InputError: no YAML, an unknown or missing key, a value of another kind, or a group that names an unknown
            structure.
    """
    facts = _checked_keys(path, described)
    _check_kinds(path, facts)
    facts["groups"] = {group: tuple(names) for group, names in facts.get("groups", {}).items()}
    unknown = {name for names in facts["groups"].values() for name in names} - set(facts["label_names"])
    if unknown:
        raise InputError("a group names a structure that is not in label_names", where=path, found=sorted(unknown))
    for key in TUPLES:
        facts[key] = tuple(facts.get(key, ()))
    try:
        facts["archives"] = tuple(
            Archive(**{**archive, "members": tuple(archive.get("members", ("*",)))})
            for archive in facts.get("archives", ())
        )
        re.compile(facts.get("frame_suffix", ""))
    except (TypeError, AttributeError, re.error) as error:
        raise InputError("archives or frame_suffix are of another kind", where=path, found=str(error)) from error
    return facts


def _checked_keys(path: Path, described: type) -> dict[str, Any]:
    """The yaml's keys and values: none unknown, none missing that has no default."""
    try:
        facts = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("the facts of a data set cannot be read", where=path, found=str(error)) from error
    known = [one for one in fields(described) if one.name != "name"]
    names = {one.name for one in known}
    if not isinstance(facts, dict) or set(facts) - names:
        found = sorted(map(str, set(facts) - names)) if isinstance(facts, dict) else type(facts).__name__
        raise InputError("unknown key", where=path, found=found, expected=sorted(names))
    if missing := sorted(_needed(known) - set(facts)):
        raise InputError("missing key", where=path, expected=missing, found=sorted(facts))
    return facts


def _needed(known: Collection[Field[Any]]) -> set[str]:
    """What has no default; groups may be left out of a yaml, though the class asks for them."""
    return {one.name for one in known if one.default is MISSING and one.default_factory is MISSING} - {"groups"}


def _check_kinds(path: Path, facts: dict[str, Any]) -> None:
    """Lists and tables where they are due; raises InputError."""
    for kind, keys in ((list, (*TUPLES, "archives")), (dict, ("groups",))):
        for key in keys:
            if not isinstance(facts.get(key, kind()), kind):
                raise InputError(f"{key} is no {kind.__name__}", where=path, found=repr(facts[key])[:120])
    for group, names in facts.get("groups", {}).items():
        if not isinstance(names, list):
            raise InputError(f"group {group} is no list", where=path, found=repr(names)[:120])
