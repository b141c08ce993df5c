"""The house: which package may import which, and what nothing imports. docs/architecture.md says it in words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "benchmark"
EVERYWHERE = {
    "errors", "files", "checksums", "markdown", "progress", "workers", "version", "__version__", "settings", "layout",
    "lineage", "forced", "own", "environment",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "settings": set(),
    "images": set(),
    "datasets": {"images"},
    "models": set(),
    "scoring": {"images"},
    "catalog": {"datasets", "images", "models", "scoring"},  # registries; `new` looks at somebody's data
    "data": {"catalog", "datasets", "images", "models"},  # released weights are fetched as data are
    "training": {"catalog", "data", "models"},
    "inference": {"catalog", "data", "images", "models"},
    "cost": {"catalog", "datasets", "models", "inference"},  # latency times a whole prediction
    "evidence": {"catalog", "datasets", "images", "scoring"},
    "audit": {"catalog", "datasets", "evidence"},
    "page": {"audit", "catalog", "cost", "datasets", "evidence", "images", "models", "scoring"},
    "exchange": {"catalog", "cost", "data", "datasets", "evidence", "images", "inference", "models", "scoring"},
    "jobs": {"catalog", "cost", "data", "datasets", "images", "scoring"},
}
REGISTRIES = {  # what catalog reads
    "models": {"benchmark.models.registry", "benchmark.models.released"},
    "scoring": {"benchmark.scoring.conventions"},
}
WITHOUT_TORCH = ("images", "catalog", "datasets", "scoring", "evidence", "audit", "page", "jobs")
HEAVY = {"torch", "monai", "triton"}


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, inside functions and for types as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (
                [f"benchmark.{alias.name}" for alias in node.names] if node.module == "benchmark" else [node.module]
            )


FILES = sorted(ROOT.rglob("*.py"))


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_house(path: Path) -> None:
    own, found = package(path), set(imported(path))
    assert not {name for name in found if name.split(".")[0] == "snakemake"}
    if own in WITHOUT_TORCH:
        assert not {name for name in found if name.split(".")[0] in HEAVY}
    others = {name.split(".")[1] for name in found if name.startswith("benchmark.")} - {own} - EVERYWHERE
    if own in MAY_IMPORT:
        assert others <= MAY_IMPORT[own]
    elif own not in ("cli.py", "__main__.py", "fork_server.py"):  # where commands begin
        assert not others  # errors, files, checksums, … stand below all packages
    if own == "catalog":
        for other, registries in REGISTRIES.items():
            assert {name for name in found if name.startswith(f"benchmark.{other}.")} <= registries


def test_no_circle() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_every_package_has_its_line() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(MAY_IMPORT)


def test_snakemake_starts_without_libraries_that_only_its_jobs_need() -> None:
    """They would take as long as Snakemake itself, at every start."""
    later = {"torch", "numba", "blosc2", "pandas", "matplotlib", "scipy.ndimage"}
    wiring = (ROOT.parent / "workflow/rules/common.smk").read_text(encoding="utf-8")
    modules = re.findall(r"^from (benchmark\S*) import", wiring, re.MULTILINE)
    code = f"import importlib, sys; [importlib.import_module(n) for n in {modules}]; print({later} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert "benchmark.jobs.changes" in modules and done.stdout.strip() == "set()"
