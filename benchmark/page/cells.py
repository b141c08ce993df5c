"""What the panel of a cell shows: claim, value, ledger, protocol with its tags, runs with their files, command."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.catalog.derivation import command_of, deciding, ledger_of, network_of, settings_of
from benchmark.catalog.targets import Target
from benchmark.page.claims import Claimed
from benchmark.page.material import Material
from benchmark.page.verdicts import KINDS

Pool = dict[tuple[str, ...], int]


def cell_data(material: Material, claims: dict[tuple[str, str, str], Claimed]) -> dict[str, object]:
    """Per cell what only it has, and by reference what many share: runs, lists of settings, ledger entries."""
    found = _Collected(material)
    cells = {
        name: [
            found.cell(target, claims[name, claim.row, claim.column]) | {"published": claim.value, "stars": claim.stars}
            for claim in target.published
        ]
        for name, target in material.catalog.targets.items()
        if name in material.tables
    }
    targets = {name: _target(material, material.catalog.target(name)) for name in cells}
    verdicts = {name: {"mark": kind.mark, "words": kind.words, "style": kind.style} for name, kind in KINDS.items()}
    return {
        "targets": targets,
        "cells": cells,
        "verdicts": verdicts,
        "runs": found.runs,
        "settings": found.settings,
        "tagged": [list(line) for line in found.tagged],
        "ledger": found.ledger,
    }


def _target(material: Material, target: Target) -> dict[str, object]:
    name = target.target
    paths = {
        "rebuilt table (csv)": f"{name}.csv",
        "published against rebuilt (csv)": f"{name}.compare.csv",
        "table for reading (md)": f"{name}.md",
        "log of the table": f"logs/publish/{name}.log",
        "loss curves": f"training/{name}.svg",
    }
    return {
        "number": target.number,
        "paper": material.catalog.papers[target.paper].paper.title,
        "command": command_of(target, material.scale),
        "links": _links(material, paths),
    }


def _links(material: Material, paths: dict[str, str]) -> list[tuple[str, str]]:
    """(words, address) of those files that the results folder has."""
    return [(words, material.href(path)) for words, path in paths.items() if material.href(path)]


class _Collected:
    """Runs, settings and ledger entries that the cells refer to, each once."""

    def __init__(self, material: Material) -> None:
        self._material, self._catalog = material, material.catalog
        self.runs: dict[str, dict[str, object]] = {}
        self.settings: dict[str, list[int]] = {}
        self.ledger: dict[str, dict[str, str]] = {}
        self.tagged: Pool = {}

    def cell(self, target: Target, claim: Claimed) -> dict[str, object]:
        row, name = claim.row, claim.column
        column = target.columns[name]
        runs = self._catalog.rests_on(target, row, name)
        entries = ledger_of(self._catalog, target, row, name)
        for run in runs:
            self._add_run(run)
        for paper, entry in entries:
            shown = {"subject": entry.subject, "default": entry.default, "because": entry.because}
            self.ledger.setdefault(f"{paper}/{entry.id}", shown)
        prefixes = deciding(column)
        return {
            "row": row,
            "column": name,
            "verdict": claim.verdict,
            "reason": claim.reason,
            "contradicted": claim.contradicted,
            "state": claim.state,
            "needs": claim.needs,
            "compare": self._material.tables[target.target].compared.get((row, name), {}),
            "runs": list(runs),
            "settings": list(dict.fromkeys(self._add_settings(run, prefixes) for run in runs)) if prefixes else [],
            "ledger": [f"{paper}/{entry.id}" for paper, entry in entries],
        }

    def _add_run(self, run: str) -> None:
        if run in self.runs:
            return
        config = self._catalog.run(run, self._material.scale)
        trainings = self._catalog.trainings(run, self._material.scale)
        self.runs[run] = {
            "network": network_of(config),
            "digest": config.digest,
            "elsewhere": self._catalog.made_elsewhere(run) or "",
            "trainings": [training for training in trainings if training != run],
            "links": _links(self._material, run_files(run, trainings)),
        }

    def _add_settings(self, run: str, prefixes: Sequence[str]) -> str:
        """Key of the list of settings; all seeds of a row share it."""
        key = " ".join([run.rsplit("/", 1)[0], *prefixes]).strip()
        if key not in self.settings:
            # what needs no training is at the paper's scale in the demo too
            scale = self._material.scale if tuple(prefixes) == ("",) else "paper"
            lines = settings_of(self._catalog, run, scale, prefixes)
            self.settings[key] = [self._number(line) for line in lines]
        return key

    def _number(self, line: tuple) -> int:
        key, value, paper_value, origin = line
        ours = "" if value == paper_value else paper_value
        return self.tagged.setdefault((key, value, ours, origin.kind, origin.text), len(self.tagged))


def run_files(run: str, trainings: Sequence[str]) -> dict[str, str]:
    """What a reader of a run asks for → its path below the results folder, whether it is there or not."""
    files = {}
    for training in trainings:
        of = "" if training == run else f" of {training}"
        files[f"log of the training{of}"] = f"logs/runs/{training}/train.log"
        files[f"losses{of}"] = f"runs/{training}/log.csv"
    files["log of the prediction"] = f"logs/runs/{run}/predict.log"
    files["log of the scoring"] = f"logs/runs/{run}/score.log"
    files["predictions"] = f"runs/{run}/predictions/"
    files["scores"] = f"runs/{run}/scores.parquet"
    return files
