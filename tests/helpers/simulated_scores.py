"""Score files and evidence made up for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.catalog.catalog import load_catalog
from benchmark.evidence.measured import CellSource

GROUPS = {
    "organs": ("spleen", "liver"),
    "vertebrae": ("vertebrae_L1",),
    "muscles": ("femur_left",),
    "ribs": ("rib_left_1",),
    "vessels": ("aorta", "heart"),
}
TEST_CASES = frozenset(f"s{number:04d}" for number in range(89))
CLASSES = tuple(name for group in GROUPS.values() for name in group)


def write_scores(
    path: Path,
    run: str,
    values: np.ndarray,
    *,
    classes=CLASSES,
    status: str = "ok",
    metric: str = "dsc",
    config_digest: str = "0123456789abcdef",
    convention: str = "swin_smt",
    first: int = 0,
) -> Path:
    """A scores.parquet of the values [cases, classes] of one run, as the scoring stage writes it; cases are numbered
    from `first`."""
    cases = [f"s{first + number:04d}" for number in range(len(values)) for _ in classes]
    table = pa.table(
        {
            "run": [run] * len(cases),
            "case": cases,
            "class": list(classes) * len(values),
            "metric": [metric] * len(cases),
            "value": values.ravel().astype(float),
            "convention": [convention] * len(cases),
            "status": [status] * len(cases),
        }
    )
    table = table.replace_schema_metadata({"config_digest": config_digest, "code_version": "0.1.0"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def sources_of(target, *, published_cases: bool = True) -> dict[tuple[str, str], CellSource]:
    """Sources of Table 1's or Table 2's cells, without the registries of networks and data sets."""
    catalog = load_catalog()
    return {
        (row, name): CellSource(
            runs=catalog.cell_runs(target, row, name),
            dataset="totalseg",
            convention="swin_smt",
            order="cases_then_classes",
            classes=GROUPS[column.group] if column.group else None,
            test_cases=TEST_CASES if published_cases else frozenset(),
            setting=32.0 if column.measure == "option" else None,
        )
        for row in target.rows
        for name, column in target.columns.items()
    }


def simulated(cases: int, centre: float, seed: int) -> np.ndarray:
    """Scores [cases, classes] around `centre`, with a difficulty per case that all methods share."""
    difficulty = np.random.default_rng(99).normal(0, 0.05, (cases, 1))
    return np.clip(centre + difficulty + np.random.default_rng(seed).normal(0, 0.02, (cases, len(CLASSES))), 0, 1)
