"""The JSON schemas: every file names its own in the first line and agrees with it, and a wrong key does not."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.dry_run import REPOSITORY
from jsonschema import Draft202012Validator

HEADER = "# yaml-language-server: $schema="
FILES = sorted([*REPOSITORY.glob("paper_tables/**/*.yaml"), REPOSITORY / "config/config.yaml"])
TABLES = REPOSITORY / "paper_tables" / "swin_smt"


@cache
def validator(schema: Path) -> Draft202012Validator:
    content = json.loads(schema.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def schema_of(path: Path) -> Path:
    with path.open(encoding="utf-8") as file:
        first = file.readline().strip()
    assert first.startswith(HEADER), f"the first line has to be {HEADER}…"
    return (path.parent / first.removeprefix(HEADER)).resolve()


def faults(path: Path, content: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(schema_of(path)).iter_errors(content)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_file_agrees_with_the_schema_that_it_names(path: Path) -> None:
    assert schema_of(path).parent == REPOSITORY / "workflow/schemas"
    assert faults(path, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_every_schema_is_of_a_file() -> None:
    assert {schema_of(path) for path in FILES} == set((REPOSITORY / "workflow/schemas").glob("*.json"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("protocols.yaml", lambda tree: tree["totalseg"]["training"].update(patch=[128, 128, 128])),
        ("protocols.yaml", lambda tree: tree["totalseg"]["training"]["patch"].pop("paper")),
        ("protocols.yaml", lambda tree: tree["totalseg"]["training"]["patch"].update(guess="ours")),
        ("protocols.yaml", lambda tree: tree["totalseg"]["training"]["batch"].update(value="eight")),
        ("protocols.yaml", lambda tree: tree["totalseg"]["training"].update(batchs={"value": 8, "paper": "Section 3"})),
        ("models.yaml", lambda tree: tree["unetr"].pop("model")),
        ("ledger.yaml", lambda tree: next(iter(tree.values())).update(default="maybe")),
        ("ledger.yaml", lambda tree: next(iter(tree.values())).update(asked_authors={"date": "2026-11-30"})),
        ("table1_totalseg.yaml", lambda tree: tree["columns"]["Time (s)"].update(measure="speed")),
        ("paper.yaml", lambda tree: tree.update(yaer=2024)),
    ],
)
def test_a_mistake_does_not_agree(name: str, change: Any) -> None:
    content = yaml.safe_load((TABLES / name).read_text(encoding="utf-8"))
    change(content)
    assert faults(TABLES / name, content)


def test_an_entry_says_that_authors_were_asked() -> None:
    content = yaml.safe_load((TABLES / "ledger.yaml").read_text(encoding="utf-8"))
    next(iter(content.values()))["asked_authors"] = {"date": "2026-11-30", "channel": "e-mail", "answer": "none"}
    assert faults(TABLES / "ledger.yaml", content) == []
