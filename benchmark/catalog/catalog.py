"""The catalog: every paper, model, protocol, run and target of a paper_tables folder, loaded and cross-checked."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.catalog.loading import PaperFolder, load_paper
from benchmark.catalog.papers import NamedModel, Protocol
from benchmark.catalog.provenance import merge
from benchmark.catalog.reading import pick, validate
from benchmark.catalog.targets import Column, Row, Target
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError
from benchmark.models.registry import available_models
from benchmark.settings import RELEASED, RunConfig, Scale

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "paper_tables"
DEFAULT_SHARE = 0.1


class Catalog:
    """Look-up of targets and runs over all papers of a folder.

    Args:
        folder: paper_tables.
        seeds: at least so many runs per row, with seeds 0, 1, …; None: as each row says.
        share: of the steps of every training at scale `pilot`.

    Raises:
        InputError: on construction, for any file that is absent, misspelt or inconsistent with another.
    """

    def __init__(
        self, folder: str | Path = DEFAULT_FOLDER, *, seeds: int | None = None, share: float = DEFAULT_SHARE
    ) -> None:
        self.folder, self.seeds, self.share = Path(folder), seeds, share
        names = sorted(path.parent.name for path in self.folder.glob("*/paper.yaml"))
        if not names:
            raise InputError("no paper in the folder", where=self.folder, expected="<paper>/paper.yaml")
        self.papers = {name: load_paper(self.folder / name) for name in names}
        self.targets: dict[str, Target] = {}
        for folder_ in self.papers.values():
            for target in folder_.targets.values():
                if target.target in self.targets:
                    raise InputError(f"target id {target.target!r} stands twice", where=self.folder)
                self.targets[target.target] = target
        for target in self.targets.values():
            self.runs(target)  # every row must resolve
        for name, folder_ in self.papers.items():
            self._check_modules(self.folder / name, folder_)
            self._check_ledger(self.folder / name / "ledger.yaml", folder_)
            self._check_scoring(self.folder / name, folder_)

    def target(self, name: str) -> Target:
        return pick(self.targets, name, "target", None)

    def _check_modules(self, path: Path, folder: PaperFolder) -> None:
        """Every network and every dataset that is named has its module."""
        networks, datasets = dict.fromkeys(available_models()), dict.fromkeys(available_datasets())
        for name, model in folder.models.items():
            pick(networks, model.spec.name, "network", f"{path / 'models.yaml'}: {name}")
        for name, protocol in folder.protocols.items():
            pick(datasets, protocol.dataset, "dataset", f"{path / 'protocols.yaml'}: {name}")

    def _check_ledger(self, path: Path, folder: PaperFolder) -> None:
        """Every entry concerns something, under a name that exists."""
        networks = {model.spec.name for model in folder.models.values()}
        known = dict.fromkeys([*self.targets, *folder.protocols, *folder.models, *networks])
        for entry in folder.ledger:
            for name in entry.concerns or ("",):
                pick(known, name, "target, protocol or network in `concerns`", f"{path}: {entry.id}")

    def _check_scoring(self, path: Path, folder: PaperFolder) -> None:
        """Every convention and metric that is named exists."""
        from benchmark.scoring.conventions import load_conventions  # which itself reads settings of this package

        conventions = load_conventions()
        metrics = {metric: True for convention in conventions.values() for metric in convention.rules}
        for name, protocol in folder.protocols.items():
            pick(conventions, protocol.convention, "convention", f"{path / 'protocols.yaml'}: {name}")
        for target in folder.targets.values():
            for name, column in target.columns.items():
                where = f"{path / target.target}.yaml: columns: {name}"
                if column.convention:
                    pick(conventions, column.convention, "convention", where)
                if column.measure == "score":
                    pick(metrics, str(column.metric).split("@")[0], "metric", where)

    def cell_runs(self, target: Target, row: str, column: str | None = None) -> tuple[str, ...]:
        """Run ids that a cell rests on, one per seed; empty for rows of printed text."""
        spec = target.rows[row]
        return self._row_runs(target, spec, target.columns[column] if column else None)

    def rests_on(self, target: Target, row: str, column: str) -> tuple[str, ...]:
        """Run ids behind a cell, each once: its own, or those of the columns that it is the mean of."""
        parts = target.columns[column].of or (column,)
        return tuple(dict.fromkeys(run for part in parts for run in self.cell_runs(target, row, part)))

    def reading(self, target: Target, row: str, column: str) -> str:
        """How the ledger explains a printed cell that differs from what is counted or run; empty where it does not."""
        entries = self.papers[target.paper].ledger
        explain = [entry for entry in entries if target.target in entry.concerns and column in entry.cells.get(row, ())]
        return "; ".join(f"{entry.subject}: {entry.because}" for entry in explain)

    def _row_runs(self, target: Target, row: Row, column: Column | None) -> tuple[str, ...]:
        if row.model is None:
            return ()
        paper = row.paper or target.paper
        protocol = (column.protocol if column else None) or row.protocol or target.protocol
        if protocol is None:
            return ()
        recipe = row.recipes.get(protocol, row.recipe)
        protocol += f"-{recipe}" if recipe else ""
        seeds = range(self.seeds) if self.seeds and self.seeds > len(row.seeds) else row.seeds
        runs = tuple(f"{paper}/{protocol}/{row.model}/seed{seed}" for seed in seeds)
        for run in runs:
            self._parts(run, where=self.folder / target.paper / f"{target.target}.yaml")
        return runs

    def runs(self, target: Target, *, scored: bool = False, rows: Collection[str] | None = None) -> tuple[str, ...]:
        """All run ids of a target, each once, in the order of its rows.

        Args:
            rows: only those of these rows; None: of all.
            scored: only those that a column needs trained and scored; a count of parameters needs no training.
        """
        columns = [column for column in target.columns.values() if column.measure == "score" or not scored]
        found = [
            run
            for name, row in target.rows.items()
            if rows is None or name in rows
            for column in columns
            for run in self._row_runs(target, row, column)
        ]
        return tuple(dict.fromkeys(found))

    def run(self, run: str, scale: Scale = "paper") -> RunConfig:
        """The resolved configuration of a run id.

        Raises:
            InputError: the id names an unknown paper, protocol, model or seed.
        """
        protocol, model, seed = self._parts(run, where="run id")
        paper = run.split("/")[0]
        folder, where = self.papers[paper], f"{self.folder / paper}/protocols.yaml: {protocol.name}"
        trainer = protocol
        if protocol.trained_by not in (None, RELEASED):
            trainer = pick(folder.protocols, protocol.trained_by, f"protocol of {paper}", f"{where}: trained_by")
        settings = self._at_scale(protocol, scale)
        resolved = {
            **settings,
            "run": run,
            "scale": scale,
            "trained_by": _trained_by(run, protocol.trained_by, scale),
            "begins_from": self._beginnings(protocol, model, folder, where) if trainer is protocol else (),
            "joint": [self._store(folder, name, protocol, scale, f"{where}: joint") for name in protocol.joint],
            **self._heads(protocol, trainer, folder, where),
            "model": {
                **model.spec.model_dump(mode="json", exclude=None if scale == "demo" else {"demo"}),
                **settings.get("model", {}),
            },
            "training": self._at_scale(trainer, scale)["training"],
            "convention": protocol.convention,
            "seed": seed,
        }
        if scale == "demo":
            resolved["model"]["initialisation"] = "scratch"  # released weights fit no narrowed network
        return validate(RunConfig, resolved, where=where)

    def _at_scale(self, protocol: Protocol, scale: Scale) -> dict[str, Any]:
        """The settings of a protocol that a run takes over, as plain values."""
        parts = {"dataset", "labels", "preparation", "training", "inference"}
        settings = protocol.model_dump(mode="json", include=parts)
        if scale == "pilot":
            settings["training"] = protocol.training.shortened(self.share).model_dump(mode="json")
        return merge(settings, protocol.demo) if scale == "demo" else settings

    def _beginnings(
        self, protocol: Protocol, model: NamedModel, folder: PaperFolder, where: str
    ) -> list[dict[str, str]]:
        """Trainings that a network begins from. Seeds of one row begin from one and the same."""
        found = []
        for part, other in model.begins_from.items():
            by = pick(protocol.pretraining, part, "part in `pretraining`", where)
            pick(folder.protocols, by, f"protocol of {folder.paper.paper}", f"{where}: pretraining: {part}")
            pick(folder.models, other, f"model of {folder.paper.paper}", f"{where}: begins_from: {part}")
            found.append({"part": part, "training": f"{folder.paper.paper}/{by}/{other}/seed0"})
        return found

    def _heads(self, protocol: Protocol, trainer: Protocol, folder: PaperFolder, where: str) -> dict[str, Any]:
        """Heads of the network of a joint training, and which of them is the protocol's: that of its dataset."""
        parts = [pick(folder.protocols, name, "protocol", f"{where}: joint") for name in trainer.joint]
        if not parts or trainer.training.objective != "segmentation":
            return {}
        datasets = [part.dataset for part in parts]
        heads = [len(part.labels or get_dataset(part.dataset).label_names) + 1 for part in parts]
        if trainer is protocol:
            return {"heads": heads}
        if datasets.count(protocol.dataset) != 1:
            raise InputError(
                f"{trainer.name} has no head, or several, of {protocol.dataset}",
                where=f"{where}: trained_by",
                expected="a joint training over this dataset once",
                found=datasets,
            )
        return {"heads": heads, "head": datasets.index(protocol.dataset)}

    def _store(self, folder: PaperFolder, name: str, joint: Protocol, scale: Scale, where: str) -> dict[str, Any]:
        """One of the stores that a joint training reads."""
        settings = self._at_scale(pick(folder.protocols, name, "protocol", where), scale)
        patch = joint.training.patch if settings["preparation"]["pad_to_patch_multiple"] else None
        planes = settings["inference"]["slice_axis"] if len(joint.training.patch) == 2 else None
        parts = {key: settings[key] for key in ("dataset", "labels", "preparation")}
        return parts | {"patch": patch, "planes": planes}

    def training(self, run: str, scale: Scale = "paper") -> RunConfig | None:
        """The configuration of the training whose weights a run uses; None where they are released weights.

        Raises:
            InputError: as `run`.
        """
        config = self.run(run, scale)
        if config.training_id is None:
            return None
        return config if config.training_id == run else self.run(config.training_id, scale)

    def trainings(self, run: str, scale: Scale = "paper") -> tuple[str, ...]:
        """Ids of the trainings that a run rests on, each after those that it begins from."""
        config = self.training(run, scale)
        if config is None:
            return ()
        before = [name for edge in config.begins_from for name in self.trainings(edge.training, scale)]
        return tuple(dict.fromkeys([*before, config.run]))

    def _parts(self, run: str, *, where: str | Path) -> tuple[Protocol, NamedModel, int]:
        paper, protocol, model, seed = (run.split("/") + [""] * 4)[:4]
        folder = pick(self.papers, paper, "paper", where)
        if not (seed.startswith("seed") and seed[4:].isdecimal()):
            raise InputError(f"not a run id: {run!r}", where=where, expected="<paper>/<protocol>/<model>/seed<k>")
        return (
            pick(folder.protocols, protocol, f"protocol of {paper}", where),
            pick(folder.models, model, f"model of {paper}", where),
            int(seed[4:]),
        )

    def target_path(self, target: Target) -> Path:
        return self.folder / target.paper / f"{target.target}.yaml"


@lru_cache(maxsize=4)
def load_catalog(
    folder: str | Path = DEFAULT_FOLDER, *, seeds: int | None = None, share: float = DEFAULT_SHARE
) -> Catalog:
    """The catalog of a folder, loaded once per process; arguments as of `Catalog`."""
    return Catalog(folder, seeds=seeds, share=share)


def _trained_by(run: str, protocol: str | None, scale: Scale) -> str:
    """Nobody has released weights of the demo's narrowed networks: there, the run trains its own in their place."""
    if protocol is None or (protocol == RELEASED and scale == "demo"):
        return ""
    if protocol == RELEASED:
        return RELEASED
    paper, _, model, seed = run.split("/")
    return f"{paper}/{protocol}/{model}/{seed}"
