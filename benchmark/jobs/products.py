"""What the rules of tables, figures and pages ask: their inputs, and what the report says of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.catalog.targets import Target
from benchmark.cost.budget import rate_words
from benchmark.cost.planned_jobs import with_curves
from benchmark.errors import InputError, did_you_mean
from benchmark.jobs.wiring import Wildcards, Wiring
from benchmark.layout import CONTROLS, POINT_CONTROL
from benchmark.settings import Features, ReceptiveField

PAGES = ("coverage", "audit", "budget")
FIELD_PARAMETERS = ("samples", "contribution")  # of a figure of receptive fields: options of the command
DEMO_FIELD = {"samples": 100}  # there are no more than a few small phantoms to draw patches from
PUBLISHED_SUFFIXES = (".csv", ".md", ".svg", ".png", ".pdf")


class Products:
    """Functions of the wildcards of a table, a figure or a page."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring, self._catalog = wiring, wiring.catalog
        self._layout, self._settings = wiring.layout, wiring.settings

    def target(self, wildcards: Wildcards) -> Target:
        return self._catalog.target(wildcards.target)

    def scores(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.scored(run) for run in self._wiring.ready_runs(self.target(wildcards))]

    def trained(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.trained(training) for training in self.trainings_of(self.target(wildcards))]

    def trainings_of(self, target: Target) -> list[str]:
        """Trainings behind a target's runs, those that others begin from included, each once."""
        scale, runs = self._settings.scale, self._made_here(target)
        return list(dict.fromkeys(name for run in runs for name in self._catalog.trainings(run, scale)))

    def _made_here(self, target: Target) -> list[str]:
        """Runs that are trained here: only they have weights."""
        return [run for run in self._wiring.ready_runs(target) if self._layout.is_made_here(run)]

    def _scored_here(self, target: Target) -> list[str]:
        """Runs whose label maps are scored here: scores that were handed in need no data."""
        return [run for run in self._wiring.ready_runs(target) if run not in self._layout.scores]

    def handed_in(self, wildcards: Wildcards) -> list[str]:
        """For a command: where results of the target's runs were made elsewhere."""
        return self._handed_in(self._catalog.runs(self.target(wildcards)))

    def all_handed_in(self, _: object = None) -> list[str]:
        """For the page: where results of any run were made elsewhere."""
        targets = self._catalog.targets.values()
        return self._handed_in(dict.fromkeys(run for target in targets for run in self._catalog.runs(target)))

    def _handed_in(self, runs: Iterable[str]) -> list[str]:
        kinds = {"predictions": self._layout.predictions, "scores": self._layout.scores}
        found = [(kind, run, paths[run]) for kind, paths in kinds.items() for run in runs if run in paths]
        return [word for words in found for word in ("--handed-in", *words)]

    def controls(self, wildcards: Wildcards) -> list[str]:
        """Scores of the controls for every protocol of a target: what perfection, nothing and position alone score."""
        target = self.target(wildcards)
        found = [(*protocol, control) for protocol in self.protocols(target) for control in CONTROLS]
        found += [(*protocol, POINT_CONTROL) for protocol in self.told_protocols(target)]
        return [self._layout.control(*names) for names in found]

    def protocols(self, target: Target) -> list[tuple[str, str]]:
        """(paper, protocol) of a target's runs, sorted."""
        return sorted({(run.split("/")[0], run.split("/")[1]) for run in self._scored_here(target)})

    def told_protocols(self, target: Target) -> list[tuple[str, str]]:
        """Of `protocols`, those whose networks are asked by points."""
        runs = {(run.split("/")[0], run.split("/")[1]): run for run in self._scored_here(target)}
        configs = {names: self._catalog.run(run, self._settings.scale) for names, run in sorted(runs.items())}
        return [names for names, config in configs.items() if config.inference.method == "prompted"]

    def stores(self, wildcards: Wildcards) -> list[str]:
        """Prepared stores of a target's runs: they know which scans show the entire body."""
        runs = self._scored_here(self.target(wildcards))
        return sorted({self._layout.prepared_for(self._catalog.run(run, self._settings.scale)) for run in runs})

    def costs(self, wildcards: Wildcards) -> list[str]:
        """Counted parameters and FLOPs, where a column asks for them."""
        return [self._layout.cost(wildcards.target)] if self.target(wildcards).is_counted else []

    def latencies(self, wildcards: Wildcards) -> list[str]:
        """Times of one scan, where a column asks for them; a laptop's demo measures none."""
        return [self._layout.latency(wildcards.target)] if self.times(self.target(wildcards)) else []

    def times(self, target: Target) -> bool:
        """Whether a table has times of a scan, and this scale the networks that they are of."""
        return target.kind == "table" and target.measures("latency") and self._settings.scale != "demo"

    def drawn_tables(self, wildcards: Wildcards) -> list[str]:
        return [path for name in self.target(wildcards).drawn_tables for path in self._layout.table(name)]

    def receptive_fields(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.receptive_field(run) for run in self.fields_of(self.target(wildcards))]

    def fields_of(self, target: Target) -> list[str]:
        """Runs whose map a figure draws; without trained weights there are none to make."""
        return self._made_here(target) if target.draws_receptive_fields else []

    def receptive_field_options(self, wildcards: Wildcards) -> list[str]:
        return self.receptive_field_options_of(wildcards.run).split()

    def receptive_field_options_of(self, run: str) -> str:
        """How a run's map is made: by the parameters of the figure that draws it, else by the command's defaults."""
        figures = [target for target in self._catalog.targets.values() if target.draws_receptive_fields]
        drawn = (target.drawing.parameters for target in figures if run in self._catalog.runs(target))
        parameters = next(drawn, {})
        chosen = {name: parameters[name] for name in FIELD_PARAMETERS if name in parameters}
        return ReceptiveField(**chosen | (DEMO_FIELD if self._settings.scale == "demo" else {})).options

    def features(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.features(run) for run in self.featured(self.target(wildcards))]

    def featured(self, target: Target) -> list[str]:
        """Runs whose features a figure shows; without trained weights there are none."""
        return self._made_here(target) if target.draws_features else []

    def feature_options(self, wildcards: Wildcards) -> list[str]:
        return self.feature_options_of(wildcards.run).split()

    def feature_options_of(self, run: str) -> str:
        """As `receptive_field_options_of`, for the figure that shows a run's features."""
        figures = [target for target in self._catalog.targets.values() if target.draws_features]
        drawn = (target.drawing.parameters for target in figures if run in self._catalog.runs(target))
        return Features(**next(drawn, {})).options

    def filling_images(self) -> list[str]:
        """Trainings that show what they make of hidden parts of images, each once."""
        trainings = dict.fromkeys(name for target in self._wiring.targets for name in self.trainings_of(target))
        return [name for name in trainings if self._catalog.run(name, self._settings.scale).fills_images]

    def reconstruction_labels(self, wildcards: Wildcards) -> dict[str, str]:
        paper, protocol, model, _ = wildcards.run.split("/")
        return {"paper": paper, "target": f"{protocol}/{model}", "what": "Hidden parts of images filled in"}

    def caption(self, wildcards: Wildcards) -> str:
        return self.target(wildcards).caption

    def labels(self, wildcards: Wildcards) -> dict[str, str]:
        target = self.target(wildcards)
        return {"paper": target.paper, "target": target.number, "what": target.title}

    @property
    def budget_settings(self) -> dict[str, Any]:
        """Settings that decide the page of the budget, where they are not the usual ones."""
        settings: dict[str, str | float | None] = {
            "rate": rate_words(self._settings.rate),
            "seeds": self._settings.seeds,
        }
        if self._settings.scale == "pilot":
            settings["share"] = self._settings.share
        return {name: value for name, value in settings.items() if value}

    def rate(self, _: object = None) -> list[str]:
        """Option of the command that writes the page of the budget."""
        words = rate_words(self._settings.rate)
        return ["--rate", words] if words else []

    # What the pages read

    def all_tables(self, _: object = None) -> list[str]:
        return [self._layout.table(target.target)[1] for target in self._wiring.targets if target.kind == "table"]

    def all_costs(self, _: object = None) -> list[str]:
        """Counted networks of every table with parameters or FLOPs."""
        return [self._layout.cost(target.target) for target in self._wiring.targets if target.is_counted]

    def all_case_pictures(self, _: object = None) -> list[str]:
        """Records of the pictures of cases."""
        return [self._layout.case_pictures(run) for run in self.pictured_runs()]

    def pictured_runs(self) -> list[str]:
        """Every run that can run, each once; scores that were handed in have nothing to draw."""
        runs = dict.fromkeys(run for target in self._wiring.targets for run in self._wiring.ready_runs(target))
        return [run for run in runs if run not in self._layout.scores]

    def published_files(self) -> list[str]:
        """Every file that `rule all` asks for."""
        return [*self.before_the_page(), self._layout.index()]

    def before_the_page(self, _: object = None) -> list[str]:
        """Every file that the interactive page shows or links."""
        targets = [
            path
            for target in self._wiring.targets
            for path in (self._layout.table if target.kind == "table" else self._layout.figure)(target.target)
        ]
        beside = [*self._drawn_beside(), *self.all_case_pictures()]
        return targets + beside + [path for page in PAGES for path in self._layout.page(page)]

    def check_asked(self, arguments: Sequence[str]) -> None:
        """Raise InputError with the nearest names where Snakemake is asked for a table or figure that does not exist.

        Args:
            arguments: of Snakemake's command line; all but files directly in the results folder are left to it.
        """
        catalog, layout = self._catalog, self._layout
        tables = [path for target in catalog.targets for path in layout.table(target) if self._is(target, "table")]
        figures = [path for target in catalog.targets for path in layout.figure(target) if self._is(target, "figure")]
        known = [*tables, *figures, *(path for page in PAGES for path in layout.page(page))]
        for argument in arguments:
            path = os.path.normpath(argument)
            published = os.path.dirname(path) == os.path.normpath(layout.root) and path.endswith(PUBLISHED_SUFFIXES)
            if published and path not in map(os.path.normpath, known):
                raise InputError(
                    f"nothing makes {argument}{did_you_mean(argument, known)}",
                    expected=f"a table (.csv) or figure (.svg) of `python -m benchmark list targets` in {layout.root}",
                )

    def _is(self, target: str, kind: str) -> bool:
        return self._catalog.target(target).kind == kind

    def _drawn_beside(self) -> list[str]:
        """Figures from published numbers alone; where this workflow trains, its losses, and images that it fills in."""
        published = [self._layout.published_figure(target.target) for target in self.drawn_published()]
        filled = [self._layout.reconstruction(training) for training in self.filling_images()]
        return published + [self._layout.training_curves(target) for target in self.with_curves()] + filled

    def drawn_published(self) -> list[Target]:
        """Figures that published numbers alone can draw."""
        return [target for target in self._wiring.targets if target.draws_published]

    def with_curves(self) -> list[str]:
        """Targets whose training losses are drawn."""
        return with_curves(self._wiring.targets, self.trainings_of)
