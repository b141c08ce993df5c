"""The workflow's configuration: what a user may pass with `--config`, typed and documented."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.catalog.catalog import DEFAULT_SHARE
from benchmark.catalog.reading import validate
from benchmark.catalog.targets import Unit
from benchmark.errors import InputError
from benchmark.settings import Scale, Settings
from benchmark.version import REPOSITORY

FOLDERS = ("weights", "paper_tables", "papers", "roots", "container", "predictions", "scores")

HandedIn = str | dict[str, str | dict[str, str]] | None


class WorkflowConfig(Settings):
    """What to rebuild, at which scale, from which data. Threads, memory and partitions belong in a profile."""

    scale: Scale = Field(
        "paper",
        description="paper: as published; pilot: the datasets and the papers' networks in a share of the steps; demo: "
        "phantoms and small networks on a laptop",
    )
    share: float = Field(DEFAULT_SHARE, gt=0, le=1, description="Share of every training's steps at scale pilot")
    seeds: int | None = Field(None, gt=0, description="Runs per row, with seeds 0, 1, …; null: as each row says")
    variant: str | None = Field(
        None,
        description="Recipe of the rows that have one of this name beside their own, e.g. original (Swin SMT's eleven "
        "other networks as their own repositories train them); null: each row's own",
    )
    rows: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Rows of a target that are run, e.g. {table1_totalseg: [UNETR, nnU-Net]}; other targets run whole",
    )
    datasets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Datasets on which a target's rows are run, e.g. {table2_umamba: [endovis17]}; others run on all",
    )
    significance_unit: Unit = Field(
        "cases",
        description="What the tests beside a table take as one score: cases, classes (structures), or both (each "
        "structure of each case); Swin SMT does not say",
    )
    train_options: dict[Literal["micro_batch", "workers", "tensorboard"], int | bool] = Field(
        default_factory=dict,
        description="Of the machine, not of the recipe: micro_batch (samples per forward pass), workers (data "
        "processes per training process), tensorboard (true: also event files)",
    )
    weights: str = Field("weights", description="Folder of released weights that people download by hand")
    progress: bool = Field(
        False, description="true: one line of jobs done and time left, and errors, in place of Snakemake's messages"
    )
    strict: bool = Field(
        False,
        description="true: what was made with other code is made anew; false: only what code with another result "
        "version made",
    )
    paper_tables: str = Field("paper_tables", description="Folder of claims, specs and protocols")
    papers: tuple[str, ...] = Field(
        (),
        description="Folders of one's own, beside paper_tables: papers, rows, networks, data sets (docs/your_own.md)",
    )
    container: str = Field(
        "envs/retable.sif", description="Image in which jobs run with --sdm apptainer; envs/README.md builds it"
    )
    targets: tuple[str, ...] | None = Field(None, description="Targets of `rule all`; null: every target")
    gpus_per_node: int = Field(8, gt=0, description="A training with more GPUs than this spreads over several nodes")
    gpus_per_training: int | None = Field(
        None,
        gt=0,
        description="At most so many GPUs for a training; the global batch stays the protocol's. null: the protocol's",
    )
    longest_job_hours: int = Field(
        24,
        gt=0,
        description="Time limit that no training or prediction asks to exceed, the site's or less; a longer one "
        "continues in the next attempt",
    )
    rate: Annotated[float, Field(gt=0)] | dict[str, Annotated[float, Field(gt=0)]] = Field(
        1.0,
        description="Of your GPU, for budget and time limits: how many times as fast as the assumed card (A100 40 GB) "
        "it is, or {run id: samples per second} of trainings timed on one GPU",
    )
    roots: dict[str, str] = Field(
        default_factory=dict,
        description="Local copy of a dataset, in its published layout, e.g. {totalseg: /data/ts}; others are "
        "downloaded (paper scale) or generated as a phantom (demo scale)",
    )
    start_from: Literal["data", "predictions", "scores"] = Field(
        "data",
        description="data: runs that nobody handed in are trained; predictions or scores: nothing is trained, and what "
        "was not handed in is not attempted",
    )
    predictions: HandedIn = Field(
        None,
        description="Label maps made elsewhere: a folder with <run id>/*.nii.gz, or folders by row or run id, e.g. "
        "{table1_totalseg: {UNETR: /lab/unetr}}",
    )
    scores: HandedIn = Field(
        None,
        description="Scores made elsewhere: a folder with <run id>/scores.parquet, or files by row or run id, e.g. "
        "{table1_totalseg: {UNETR: /lab/unetr.parquet}}",
    )


def workflow_config(config: dict[str, Any]) -> WorkflowConfig:
    """The typed configuration of Snakemake's `config` dictionary, its folders as `located`.

    Raises:
        InputError: naming each wrong key, what was found and what is allowed.
    """
    settings = validate(WorkflowConfig, config, where="configuration (--config, --configfile or the profile)")
    found = {name: _all_located(getattr(settings, name)) for name in FOLDERS}
    for name in ("predictions", "scores"):
        for path in _paths(found[name]):
            refuse_braces(path, where=f"configuration: {name}")
    return settings.model_copy(update=found)


def _all_located(value: Any) -> Any:
    """`located` for every folder of a setting, however deep it lies in mappings."""
    if isinstance(value, Mapping):
        return {name: _all_located(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(map(located, value))
    return value and located(value)


def _paths(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [path for inner in value.values() for path in _paths(inner)]
    return [value] if value else []


def refuse_braces(path: str, *, where: str) -> None:
    """Raises InputError for a path that is part of the workflow's graph, and in which Snakemake would see wildcards."""
    if {"{", "}"} & set(path):
        raise InputError(
            "Snakemake takes braces in a path for wildcards",
            where=where,
            found=path,
            remedy="move it, or give a link to it; only roots, weights and paper_tables may lie in such folders",
        )


def located(folder: str) -> str:
    """Where a folder of the configuration is.

    A relative one is in the working directory (Snakemake's `--directory`), as everything that the workflow writes, or
    else beside the Snakefile, wherever Snakemake was started. `~` is the home folder.
    """
    path = os.path.normpath(os.path.expanduser(folder))
    beside = REPOSITORY / path
    return str(beside) if beside.exists() and not Path(path).exists() else path
