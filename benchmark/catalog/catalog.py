"""The catalog: every paper, model, protocol, run and target of a paper_tables folder, loaded and cross-checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from benchmark.catalog.cross_checks import check_names
from benchmark.catalog.loading import PaperFolder, load_paper
from benchmark.catalog.protocols import fold_names, fold_protocols, pick_recipe, recipes_of
from benchmark.catalog.reading import pick
from benchmark.catalog.run_configuration import RunConfigurations, parts_of_run
from benchmark.catalog.targets import Column, Extension, Row, Target
from benchmark.errors import InputError
from benchmark.own import own_folders, papers_in
from benchmark.settings import ELSEWHERE, RunConfig, Scale

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
            raise InputError(
                "no paper in the folder",
                where=self.folder,
                expected="<paper>/paper.yaml",
                remedy="correct paper_tables; without it the papers of this repository are read",
            )
        alone = only is not None and only in folders
        self.papers = {name: load_paper(path) for name, path in folders.items() if name == only or not alone}
        if not alone:
            self._load_own(folders)
        for paper in self.papers.values():
            for protocol in [one for one in paper.protocols.values() if one.cross_validate]:
                paper.protocols.update(fold_protocols(protocol, paper.folder / "protocols.yaml"))
        self.targets = self._targets()
        for name, paper in self.papers.items():
            for extension in paper.extensions:
                self._extend(name, paper, extension)
        known = [protocol for paper in self.papers.values() for protocol in paper.protocols]
        self._recipes = {
            name: recipes_of(paper.protocols, known, paper.folder / "protocols.yaml")
            for name, paper in self.papers.items()
        }
        if not alone:
            self._check()

    def _load_own(self, folders: Mapping[str, Path]) -> None:
        """The papers of one's own, beside those of `folders`."""
        for path in own_folders():
            if self.folder.resolve() not in (path, path.parent):  # given once more, as one of several
                if path.name in folders:
                    raise InputError(f"two papers are called {path.name}", where=path, found=folders[path.name])
                self.papers[path.name] = load_paper(path, folders)

    def _targets(self) -> dict[str, Target]:
        targets: dict[str, Target] = {}
        for paper in self.papers.values():
            for target in paper.targets.values():
                if target.target in targets:
                    raise InputError(f"target id {target.target!r} stands twice", where=paper.folder)
                targets[target.target] = target
        return targets

    def _check(self) -> None:
        """Hold the papers to each other."""
        if self.variant is not None:
            pick(dict.fromkeys(self.variants()), self.variant, "variant", "--variant (configuration: variant)")
        for target in self.targets.values():
            self.runs(target)  # every row must resolve
            for row in target.rows:
                for column in target.columns:
                    self.variant_runs(target, row, column)  # and every variant of it
        for paper in self.papers.values():
            check_names(paper, self.targets)

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
            parts_of_run(run, self.papers, where=self._row_path(target, paper))  # what it names has to be there
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
            parts = parts_of_run(run, self.papers, where="run id")
            configurations = RunConfigurations(parts.folder, scale, self.share)
            self._runs[run, scale] = configurations.resolve(run, parts.protocol, parts.model, parts.seed)
        return self._runs[run, scale]

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

    def made_elsewhere(self, run: str) -> str | None:
        """Why a run cannot be trained here, or None: its network is somebody else's."""
        model = parts_of_run(run, self.papers, where="run id").model
        return "its network is not here; results of it can be handed in" if model.spec.name == ELSEWHERE else None

    def _row_path(self, target: Target, paper: str) -> Path:
        """Where a row of a target stands that is run by the protocols of `paper`."""
        extensions = self.papers[paper].extensions if paper in self.papers else ()
        extends = any(extension.extend == target.target for extension in extensions)
        return self.paper_folder(paper) if extends else self.target_path(target)

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
