"""What the rules of tables, figures and pages ask: their inputs, and what the report says of them."""

from __future__ import annotations

from benchmark.catalog.targets import Target
from benchmark.jobs.wiring import Wildcards, Wiring
from benchmark.layout import CONTROLS, POINT_CONTROL
from benchmark.settings import Features, ReceptiveField

PAGES = ("coverage", "audit", "budget")
FIELD_PARAMETERS = ("samples", "contribution")  # of a figure of receptive fields: options of the command
COUNTED = {"parameters", "parameters_added", "flops"}


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
        scale = self._settings.scale
        runs = self._wiring.ready_runs(target)
        return list(dict.fromkeys(name for run in runs for name in self._catalog.trainings(run, scale)))

    def controls(self, wildcards: Wildcards) -> list[str]:
        """Scores of the controls for every protocol of a target: what perfection, nothing and position alone score."""
        target = self.target(wildcards)
        found = [(*protocol, control) for protocol in self.protocols(target) for control in CONTROLS]
        found += [(*protocol, POINT_CONTROL) for protocol in self.told_protocols(target)]
        return [self._layout.control(*names) for names in found]

    def protocols(self, target: Target) -> list[tuple[str, str]]:
        """(paper, protocol) of a target's runs, sorted."""
        return sorted({(run.split("/")[0], run.split("/")[1]) for run in self._wiring.ready_runs(target)})

    def told_protocols(self, target: Target) -> list[tuple[str, str]]:
        """Of `protocols`, those whose networks are asked by points."""
        runs = {tuple(run.split("/")[:2]): run for run in self._wiring.ready_runs(target)}
        configs = {names: self._catalog.run(run, self._settings.scale) for names, run in sorted(runs.items())}
        return [names for names, config in configs.items() if config.inference.method == "prompted"]

    def stores(self, wildcards: Wildcards) -> list[str]:
        """Prepared stores of a target's runs: they know which scans show the entire body."""
        runs = self._wiring.ready_runs(self.target(wildcards))
        return sorted({self._layout.prepared_for(self._catalog.run(run, self._settings.scale)) for run in runs})

    def costs(self, wildcards: Wildcards) -> list[str]:
        """Counted parameters and FLOPs, where a column asks for them."""
        return [self._layout.cost(wildcards.target)] if self.counts(self.target(wildcards)) else []

    def counts(self, target: Target) -> bool:
        """Whether a table has parameters or FLOPs."""
        return target.kind == "table" and bool(COUNTED & {column.measure for column in target.columns.values()})

    def drawn_tables(self, wildcards: Wildcards) -> list[str]:
        return [path for name in self.drawn(self.target(wildcards)) for path in self._layout.table(name)]

    def drawn(self, target: Target) -> list[str]:
        """The tables that a figure draws, if it draws any."""
        drawn = target.figure.parameters if target.figure else {}
        return [*drawn.get("tables", ()), *([drawn["table"]] if "table" in drawn else [])]

    def receptive_fields(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.receptive_field(run) for run in self.fields_of(self.target(wildcards))]

    def fields_of(self, target: Target) -> list[str]:
        """Runs whose map a figure draws; without trained weights there are none to make."""
        if not target.draws_receptive_fields or self._settings.start_from != "data":
            return []
        return self._wiring.ready_runs(target)

    def receptive_field_options(self, wildcards: Wildcards) -> str:
        return self.receptive_field_options_of(wildcards.run)

    def receptive_field_options_of(self, run: str) -> str:
        """How a run's map is made: by the parameters of the figure that draws it, else by the command's defaults."""
        figures = [target for target in self._catalog.targets.values() if target.draws_receptive_fields]
        drawn = (target.figure.parameters for target in figures if run in self._catalog.runs(target))
        parameters = next(drawn, {})
        return ReceptiveField(**{name: parameters[name] for name in FIELD_PARAMETERS if name in parameters}).options

    def features(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.features(run) for run in self.featured(self.target(wildcards))]

    def featured(self, target: Target) -> list[str]:
        """Runs whose features a figure shows; without trained weights there are none."""
        shown = target.draws_features and self._settings.start_from == "data"
        return self._wiring.ready_runs(target) if shown else []

    def feature_options(self, wildcards: Wildcards) -> str:
        return self.feature_options_of(wildcards.run)

    def feature_options_of(self, run: str) -> str:
        """As `receptive_field_options_of`, for the figure that shows a run's features."""
        figures = [target for target in self._catalog.targets.values() if target.draws_features]
        drawn = (target.figure.parameters for target in figures if run in self._catalog.runs(target))
        return Features(**next(drawn, {})).options

    def caption(self, wildcards: Wildcards) -> str:
        return self.target(wildcards).caption

    def labels(self, wildcards: Wildcards) -> dict[str, str]:
        target = self.target(wildcards)
        return {"paper": target.paper, "target": target.number, "what": target.title}

    # What the pages read

    def all_tables(self, _: object = None) -> list[str]:
        return [self._layout.table(target.target)[1] for target in self._wiring.targets if target.kind == "table"]

    def all_costs(self, _: object = None) -> list[str]:
        """Counted networks of every table with parameters or FLOPs."""
        return [
            self._layout.cost(target.target)
            for target in self._wiring.targets
            if target.kind == "table" and COUNTED & {column.measure for column in target.columns.values()}
        ]

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
        return targets + self._drawn_beside() + [path for page in PAGES for path in self._layout.page(page)]

    def _drawn_beside(self) -> list[str]:
        """Figures from published numbers alone, and training losses where this workflow trains."""
        published = [self._layout.published_figure(target.target) for target in self.drawn_published()]
        return published + [self._layout.training_curves(target.target) for target in self.drawn_training()]

    def drawn_published(self) -> list[Target]:
        """Figures that published numbers alone can draw."""
        return [
            target
            for target in self._wiring.targets
            if target.figure and (target.figure.style == "bubbles" or "stated" in target.figure.parameters)
        ]

    def drawn_training(self) -> list[Target]:
        """Tables whose runs this workflow trains."""
        trains = self._settings.start_from == "data"
        return [
            target
            for target in self._wiring.targets
            if trains and target.kind == "table" and self._wiring.ready_runs(target)
        ]
