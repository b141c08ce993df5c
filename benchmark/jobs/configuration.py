"""The workflow's configuration: what a user may pass with `--config`, typed and documented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from benchmark.catalog.catalog import DEFAULT_SHARE
from benchmark.catalog.reading import validate
from benchmark.errors import InputError
from benchmark.layout import Layout
from benchmark.settings import Scale, Settings
from benchmark.version import REPOSITORY

FOLDERS = ("weights", "paper_tables", "predictions", "scores")


class WorkflowConfig(Settings):
    """What to rebuild, at which scale, from which data. Threads, memory and partitions belong in a profile."""

    scale: Scale = Field(
        "paper",
        description="paper: as published; pilot: the datasets and the papers' networks in a share of the steps; demo: "
        "phantoms and small networks on a laptop",
    )
    share: float = Field(DEFAULT_SHARE, gt=0, le=1, description="Share of every training's steps at scale pilot")
    seeds: int | None = Field(None, gt=0, description="Runs per row, with seeds 0, 1, …; null: as each row says")
    rows: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Rows of a target that are run, e.g. {table1_totalseg: [UNETR, nnU-Net]}; other targets run whole",
    )
    train_options: dict[Literal["micro_batch", "workers", "tensorboard"], int | bool] = Field(
        default_factory=dict,
        description="Of the machine, not of the recipe: micro_batch (samples per forward pass), workers (data "
        "processes per training process), tensorboard (true: also event files)",
    )
    weights: str = Field("weights", description="Folder of released weights that people download by hand")
    strict: bool = Field(
        False,
        description="true: what was made with other code is made anew; false: only what code with another result "
        "version made",
    )
    paper_tables: str = Field("paper_tables", description="Folder of claims, specs and protocols")
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
    roots: dict[str, str] = Field(
        default_factory=dict,
        description="Local copy of a dataset, in its published layout, e.g. {totalseg: /data/ts}; others are "
        "downloaded (paper scale) or generated as a phantom (demo scale)",
    )
    start_from: Literal["data", "predictions", "scores"] = Field(
        "data", description="data: train and predict; predictions or scores: begin at files that exist"
    )
    predictions: str | None = Field(None, description="Folder <run id>/*.nii.gz, for start_from: predictions")
    scores: str | None = Field(None, description="Folder <run id>/scores.parquet, for start_from: scores")

    def layout(self) -> Layout:
        """Paths of this configuration."""
        return Layout.at(
            self.scale,
            predictions=self.predictions if self.start_from == "predictions" else None,
            scores=self.scores if self.start_from == "scores" else None,
        )


def workflow_config(config: dict[str, Any]) -> WorkflowConfig:
    """The typed configuration of Snakemake's `config` dictionary, its folders as `located`.

    Raises:
        InputError: naming each wrong key, what was found and what is allowed.
    """
    settings = validate(WorkflowConfig, config, where="configuration (--config, --configfile or the profile)")
    folders = {name: getattr(settings, name) for name in FOLDERS}
    found: dict[str, Any] = {name: located(folder) for name, folder in folders.items() if folder is not None}
    found["roots"] = {dataset: located(folder) for dataset, folder in settings.roots.items()}
    for name in ("predictions", "scores"):
        refuse_braces(found.get(name, ""), where=f"configuration: {name}")
    return settings.model_copy(update=found)


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
