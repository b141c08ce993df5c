"""The catalog: every paper, model, protocol, run and target of a paper_tables folder, loaded and cross-checked."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.catalog.loading import PaperFolder, load_paper
from benchmark.catalog.papers import NamedModel, Protocol
from benchmark.catalog.protocols import fold_names, fold_protocols, pick_recipe, recipes_of
from benchmark.catalog.provenance import merge
from benchmark.catalog.reading import pick, validate
from benchmark.catalog.targets import Column, Extension, Row, Target
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError
from benchmark.models.registry import available_models
from benchmark.own import own_folders, papers_in
from benchmark.settings import ELSEWHERE, RELEASED, RunConfig, Scale
from benchmark.settings.folds import whole_of

# Inside the package, where a wheel has it; in a clone that is a link to the folder beside benchmark/.
DEFAULT_FOLDER = (Path(__file__).parents[1] / "paper_tables").resolve()
DEFAULT_SHARE = 0.1


class Catalog:
    """Look-up of targets and runs over all papers of a folder.

    Args:
        folder: paper_tables. The papers of one's own (`benchmark.own`) stand beside those in it.
        seeds: at least so many runs per row, with seeds 0, 1, …; None: as each row says.
        share: of the steps of every training at scale `pilot`.
        variant: rows that have a recipe for it (`Row.variants`) are rebuilt by that one; None: every row by its own.
        only: of the folder's papers read this one alone, and hold it to no other: what a job of one run needs, whose
            workflow has read them all. A paper of one's own, which may stand on others, is read with all.

    Raises:
        InputError: on construction, for any file that is absent, misspelt or inconsistent with another, and for a
            variant that no row has.
    """

    def __init__(
        self,
        folder: str | Path = DEFAULT_FOLDER,
        *,
        seeds: int | None = None,
        share: float = DEFAULT_SHARE,
        variant: str | None = None,
        only: str | None = None,
    ) -> None:
        self.folder, self.seeds, self.share, self.variant = Path(folder), seeds, share, variant
        self._runs: dict[tuple[str, Scale], RunConfig] = {}
        folders = {path.name: path for path in papers_in(self.folder)}
        if not folders:
            raise InputError("no paper in the folder", where=self.folder, expected="<paper>/paper.yaml")
        alone = only is not None and only in folders
        self.papers = {name: load_paper(path) for name, path in folders.items() if name == only or not alone}
        for path in () if alone else own_folders():
            if self.folder.resolve() not in (path, path.parent):  # given once more, as one of several
                if path.name in folders:
                    raise InputError(f"two papers are called {path.name}", where=path, found=folders[path.name])
                self.papers[path.name] = load_paper(path, folders)
        for name, folder_ in self.papers.items():
            for protocol in [one for one in folder_.protocols.values() if one.cross_validate]:
                folder_.protocols.update(fold_protocols(protocol, self.paper_folder(name) / "protocols.yaml"))
        self.targets: dict[str, Target] = {}
        for folder_ in self.papers.values():
            for target in folder_.targets.values():
                if target.target in self.targets:
                    raise InputError(f"target id {target.target!r} stands twice", where=folder_.folder)
                self.targets[target.target] = target
        for name, folder_ in self.papers.items():
            for extension in folder_.extensions:
                self._extend(name, folder_, extension)
        known = [protocol for folder_ in self.papers.values() for protocol in folder_.protocols]
        self._recipes = {
            name: recipes_of(folder_.protocols, known, folder_.folder / "protocols.yaml")
            for name, folder_ in self.papers.items()
        }
        if not alone:
            self._check()

    def _check(self) -> None:
        """Hold the papers to each other."""
        if self.variant is not None:
            pick(dict.fromkeys(self.variants()), self.variant, "variant", "--variant (configuration: variant)")
        for target in self.targets.values():
            self.runs(target)  # every row must resolve
            for row in target.rows:
                for column in target.columns:
                    self.variant_runs(target, row, column)  # and every variant of it
        for folder_ in self.papers.values():
            self._check_modules(folder_.folder, folder_)
            self._check_ledger(folder_.folder / "ledger.yaml", folder_)
            self._check_scoring(folder_.folder, folder_)

    def variants(self) -> tuple[str, ...]:
        """Every variant that a row of any target has, in the order of the targets."""
        rows = (row for target in self.targets.values() for row in target.rows.values())
        return tuple(dict.fromkeys(name for row in rows for name in row.variants))

    def variant_runs(self, target: Target, row: str, column: str | None = None) -> dict[str, tuple[str, ...]]:
        """Variant → runs by which a cell can be rebuilt besides its own."""
        spec = target.rows[row]
        measured = target.columns[column] if column else None
        return {name: self._row_runs(target, spec, measured, variant=name) for name in spec.variants}

    def target(self, name: str) -> Target:
        return pick(self.targets, name, "target", None)

    def paper_folder(self, paper: str) -> Path:
        """Where the files of a paper lie."""
        return self.papers[paper].folder

    def _extend(self, name: str, own: PaperFolder, extension: Extension) -> None:
        """Add rows of one's own to a target, which train by that target's protocols."""
        target = pick(self.targets, extension.extend, "target to extend", own.folder)
        if taken := sorted(set(target.rows) & set(extension.rows)):
            raise InputError(f"{extension.extend} has such rows already", where=own.folder, found=taken)
        for protocol, settings in self.papers[target.paper].protocols.items():
            own.protocols.setdefault(protocol, settings)
        rows = {row: spec.model_copy(update={"paper": spec.paper or name}) for row, spec in extension.rows.items()}
        self.targets[target.target] = target.model_copy(update={"rows": {**target.rows, **rows}})

    def _check_modules(self, path: Path, folder: PaperFolder) -> None:
        """Every network and every dataset that is named has its module."""
        networks, datasets = dict.fromkeys([*available_models(), ELSEWHERE]), dict.fromkeys(available_datasets())
        for name, model in folder.models.items():
            pick(networks, model.spec.name, "network", f"{path / 'models.yaml'}: {name}")
        for name, protocol in folder.protocols.items():
            pick(datasets, whole_of(protocol.dataset), "dataset", f"{path / 'protocols.yaml'}: {name}")

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
        metrics: dict[str, bool] = {metric: True for convention in conventions.values() for metric in convention.rules}
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
        """Run ids that a cell rests on, one per seed, and per fold; empty for rows of printed text."""
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

    def _row_runs(
        self, target: Target, row: Row, column: Column | None, *, variant: str | None = None
    ) -> tuple[str, ...]:
        if row.model is None:
            return ()
        paper = row.paper or target.paper
        protocol = (column.protocol if column else None) or row.protocol or target.protocol
        if protocol is None:
            return ()
        recipe = row.variants.get(variant or self.variant or "", row.recipes.get(protocol, row.recipe))
        if recipe:
            recipes = pick(self._recipes, paper, "paper", self.target_path(target))
            protocol = pick_recipe(recipes.get(protocol, {}), recipe, protocol, self.target_path(target))
        seeds = range(self.seeds) if self.seeds and self.seeds > len(row.seeds) else row.seeds
        settings = self.papers[paper].protocols.get(protocol) if paper in self.papers else None
        folds = fold_names(settings) if settings and settings.cross_validate else (protocol,)
        runs = tuple(f"{paper}/{fold}/{row.model}/seed{seed}" for fold in folds for seed in seeds)
        for run in runs:
            self._parts(run, where=self.target_path(target))
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
        """The resolved configuration of a run id, which callers leave as it is: each asks for the same one.

        Raises:
            InputError: the id names an unknown paper, protocol, model or seed.
        """
        if (run, scale) not in self._runs:
            self._runs[run, scale] = self._resolved(run, scale)
        return self._runs[run, scale]

    def _resolved(self, run: str, scale: Scale) -> RunConfig:
        protocol, model, seed = self._parts(run, where="run id")
        paper = run.split("/")[0]
        folder = self.papers[paper]
        where = f"{folder.folder}/protocols.yaml: {protocol.name}"
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
            **self._heads(protocol, trainer, folder, scale, where),
            "model": {
                **model.spec.model_dump(mode="json", exclude=None if scale == "demo" else {"demo"}),
                **settings.get("model", {}),
            },
            "training": self._at_scale(trainer, scale)["training"],
            "convention": protocol.convention,
            "seed": seed,
        }
        if scale == "demo":
            resolved["model"] |= {"initialisation": "scratch", "also": ()}  # released weights fit no narrowed network
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

    def _heads(
        self, protocol: Protocol, trainer: Protocol, folder: PaperFolder, scale: Scale, where: str
    ) -> dict[str, Any]:
        """Heads of the network of a joint training, and which of them is the protocol's: that of its dataset."""
        parts = [pick(folder.protocols, name, "protocol", f"{where}: joint") for name in trainer.joint]
        if not parts or trainer.training.objective != "segmentation":
            return {}
        datasets = [part.dataset for part in parts]
        labels = [self._at_scale(part, scale)["labels"] or get_dataset(part.dataset).label_names for part in parts]
        heads = [len(names) + 1 for names in labels]
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

    def made_elsewhere(self, run: str) -> str | None:
        """Why a run cannot be trained here, or None: its network is somebody else's."""
        model = self._parts(run, where="run id")[1]
        return "its network is not here; results of it can be handed in" if model.spec.name == ELSEWHERE else None

    def target_path(self, target: Target) -> Path:
        return self.paper_folder(target.paper) / f"{target.target}.yaml"


def load_catalog(
    folder: str | Path = DEFAULT_FOLDER,
    *,
    seeds: int | None = None,
    share: float = DEFAULT_SHARE,
    variant: str | None = None,
    only: str | None = None,
) -> Catalog:
    """The catalog of a folder and of the folders of one's own, loaded once per process; arguments as of `Catalog`."""
    return _loaded(folder, own_folders(), seeds, share, variant, only)


@lru_cache(maxsize=4)
def _loaded(
    folder: str | Path, own: tuple[Path, ...], seeds: int | None, share: float, variant: str | None, only: str | None
) -> Catalog:
    return Catalog(folder, seeds=seeds, share=share, variant=variant, only=only)


def _trained_by(run: str, protocol: str | None, scale: Scale) -> str:
    """Nobody has released weights of the demo's narrowed networks: there, the run trains its own in their place."""
    if protocol is None or (protocol == RELEASED and scale == "demo"):
        return ""
    if protocol == RELEASED:
        return RELEASED
    paper, _, model, seed = run.split("/")
    return f"{paper}/{protocol}/{model}/{seed}"
