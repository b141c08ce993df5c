"""Typed view of one paper's folder: who wrote it, its named models, its protocols, its ledger."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from pydantic import Field

from benchmark.catalog.provenance import Origin
from benchmark.settings import Inference, ModelSpec, Preparation, Settings, Training


class Paper(Settings):
    """Bibliography of a paper and of its released code."""

    paper: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    doi: str = ""
    repository: str = Field("", description="Released code, owner/name")
    commit: str = Field("", description="Commit of the released code that the facts were read at")
    source: Literal["tagged", "ours"] = Field(
        "tagged", description="ours: values are of one's own and need no tag; tagged: each says where it comes from"
    )


class NamedModel(Settings):
    """A network with options, under the name a paper's rows use."""

    spec: ModelSpec
    begins_from: dict[str, str] = Field(
        default_factory=dict,
        description="Part of the network → model of this file whose weights it begins from, trained by the protocol "
        "that the run's own names under `pretraining` for that part",
    )
    origins: dict[str, Origin]


class Protocol(Settings):
    """How a paper prepares, trains, predicts and scores on a dataset, with the origin of every value."""

    name: str
    dataset: str
    labels: tuple[str, ...] | None
    recipe_of: dict[str, str] = Field(
        default_factory=dict, description="Protocol → recipe: rows of that protocol ask for this one as `recipe`"
    )
    pretraining: dict[str, str] = Field(
        default_factory=dict, description="Part of a network → protocol by which what it begins from is trained"
    )
    trained_by: str | None = Field(
        None,
        description="Protocol whose training gives the weights, where it is not this one; released: no training, the "
        "network's released weights as they are (at demo scale, which has none, a training by these settings)",
    )
    joint: tuple[str, ...] = Field((), description="Protocols whose prepared cases a training reads together")
    cross_validate: bool = Field(
        False,
        description="Rows are trained once for each of the data set's folds and tested on it; tables show the mean. Of "
        "data sets of one's own in nnU-Net's raw layout",
    )
    convention: str
    preparation: Preparation
    training: Training
    inference: Inference
    demo: dict[str, Any] = Field(default_factory=dict, description="Overrides at demo scale; ours, so without tags")
    origins: dict[str, Origin] = Field(default_factory=dict)


class AskedAuthors(Settings):
    """That the paper's authors were asked about a difference, and what they said."""

    date: datetime.date
    channel: str = Field(description="An issue's address, or e-mail")
    answer: str = Field("none", description="In their own words, or none")

    def __str__(self) -> str:
        return f"asked on {self.date} ({self.channel}); answer: {self.answer}"


class LedgerEntry(Settings):
    """One difference between paper, released code, sibling paper or arithmetic."""

    id: str
    subject: str = Field(description="What differs, in a few words")
    as_written: str = Field(description="What the paper says")
    as_released: str = Field(description="What the code or the arithmetic says")
    evidence: str = Field(description="Files, commits, counts")
    default: Literal["as_written", "as_released", "neither"] = Field(description="Which one we run by default")
    because: str = Field(description="Why")
    option: str = Field("", description="The option or protocol that switches between them")
    asked_authors: AskedAuthors | Literal["not asked"] = Field(
        "not asked", description="Whether the authors were asked about it: date, channel and answer"
    )
    concerns: tuple[str, ...] = Field((), description="Targets, models or protocols concerned")
    cells: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Rows and their columns, in the targets concerned, that the entry explains"
    )
