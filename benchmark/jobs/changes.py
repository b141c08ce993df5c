"""What has changed since a result was made, as the rules ask it: an input that is there only where something has.

Snakemake looks at times of files and at its own records. Both say too much (a copied folder, a comment) and too little
(a record that is gone, a file replaced by one of the same size). So inputs of the rules are `ancient` unless something
has changed (`kept`), and a rule runs again because of a file that one of these functions writes, whose name says what.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.catalog.targets import Target
from benchmark.files import value_digest, write_text
from benchmark.jobs.chain import Chain
from benchmark.jobs.data_chain import State
from benchmark.jobs.products import PAGES, Products
from benchmark.jobs.wiring import Wildcards, Wiring

LONGEST_NAME = 120


class Changes:
    """Functions of wildcards that name what makes a job run again.

    Args:
        wiring, products: of this configuration.
        forcing: Snakemake's settings of the DAG, as far as they are known (`-R`, `-F`).
        ancient: Snakemake's mark of inputs whose times do not count.
    """

    def __init__(self, wiring: Wiring, products: Products, forcing: Any, ancient: Callable[[Any], Any]) -> None:
        self._ancient = ancient
        self._wiring, self._products, self._forcing = wiring, products, forcing
        self._catalog, self._layout = wiring.catalog, wiring.layout
        self._notes: dict[str, list[str]] = {}
        settings = wiring.settings
        self.chain = Chain(wiring.catalog, wiring.layout, settings.scale, roots=wiring.roots, forced=self.is_forced)

    def kept(self, files: Callable[[Wildcards], Any] | str, changed: Callable[[Wildcards], list[str]]) -> Callable:
        """Inputs that make nothing anew by being newer. Where something has changed they are ordinary ones (behind a
        job that runs, Snakemake passes over ancient ones), and the file of `changed` beside them says what it is."""

        def inputs(wildcards: Wildcards) -> Any:
            paths = files(wildcards) if callable(files) else files.format(**dict(wildcards.items()))
            return paths if changed(wildcards) else self._ancient(paths)

        return inputs

    def is_forced(self, rule: str, path: str) -> bool:
        """Whether a user asked for this rule or file to be made anew."""
        asked = self._forcing()
        return bool(asked) and (asked.forceall or rule in asked.forcerun or path in map(str, asked.forcerun))

    def _note(self, what: str, state: State) -> list[str]:
        """The file that says what has changed, and everything before it that is made anew; nothing where all is kept.

        The file is newer than the result, and never twice the same: Snakemake takes equal content for no change. A
        result with a time to come (a copy, a clock that is wrong) gets an older one; times decide nothing here.
        """
        folder = Path(self._layout.root) / "changed" / what
        if what not in self._notes:
            shutil.rmtree(folder, ignore_errors=True)
            self._notes[what] = []
            if state.why:
                note = folder / re.sub(r"[^\w.,=+-]+", "_", state.why)[:LONGEST_NAME]
                write_text(note, f"{state.why}\n{time.time_ns()}\n")
                _make_older(state.record, note.stat().st_mtime - 1)
                self._notes[what] = [str(note), *sorted(state.after)]
        return self._notes[what]

    # Stages

    def source(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"source/{wildcards.dataset}", self.chain.source(wildcards.dataset))

    def verified(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"verified/{wildcards.dataset}", self.chain.verified(wildcards.dataset))

    def split(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"split/{wildcards.dataset}", self.chain.split(wildcards.dataset))

    def split_checked(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"split_checked/{wildcards.dataset}", self.chain.split_checked(wildcards.dataset))

    def prepared(self, wildcards: Wildcards) -> list[str]:
        store = self._wiring.store(wildcards)
        return self._note(f"prepared/{store.dataset}/{store.id}", self.chain.prepared(store))

    def prompts(self, wildcards: Wildcards) -> list[str]:
        run = self._wiring.run_told(wildcards)
        return self._note(f"prompts/{wildcards.preparation}-{wildcards.point}", self.chain.prompts(run))

    def trained(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"trained/{wildcards.run}", self.chain.trained(wildcards.run))

    def predicted(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"predicted/{wildcards.run}", self.chain.predicted(wildcards.run))

    def receptive_field(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"receptive_field/{wildcards.run}", self._receptive_field(wildcards.run))

    def _receptive_field(self, run: str) -> State:
        return self.chain.receptive_field(run, self._products.receptive_field_options_of(run))

    def features(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"features/{wildcards.run}", self._features(wildcards.run))

    def _features(self, run: str) -> State:
        return self.chain.features(run, self._products.feature_options_of(run))

    def reconstruction(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"reconstruction/{wildcards.run}", self.chain.reconstruction(wildcards.run))

    def scored(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"scored/{wildcards.run}", self.chain.scored(wildcards.run))

    def controls(self, wildcards: Wildcards) -> list[str]:
        state = self._controls(wildcards.paper, wildcards.protocol)
        return self._note(f"controls/{wildcards.paper}/{wildcards.protocol}", state)

    def _controls(self, paper: str, protocol: str) -> State:
        return self.chain.controls(paper, protocol, self._wiring.any_run_of(paper, protocol))

    def point_control(self, wildcards: Wildcards) -> list[str]:
        state = self._point_control(wildcards.paper, wildcards.protocol)
        return self._note(f"point_control/{wildcards.paper}/{wildcards.protocol}", state)

    def _point_control(self, paper: str, protocol: str) -> State:
        return self.chain.point_control(paper, protocol, self._wiring.any_run_of(paper, protocol))

    def case_pictures(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"cases/{wildcards.run}", self.chain.case_pictures(wildcards.run))

    # Products

    def cost(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"cost/{wildcards.target}", self._cost(self._catalog.target(wildcards.target)))

    def cost_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._cost(self._catalog.target(wildcards.target)))

    def _cost(self, target: Target) -> State:
        """Counts rest on networks and on the size of their input, at the papers' scale, and on nothing else."""
        networks = {run: lineage.counted(self._catalog.run(run)) for run in self._catalog.runs(target)}
        return self.chain.product("count_cost", self._layout.made(f"cost-{target.target}"), networks, ())

    def latency(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"latency/{wildcards.target}", self._latency(self._catalog.target(wildcards.target)))

    def latency_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._latency(self._catalog.target(wildcards.target)))

    def _latency(self, target: Target) -> State:
        """Times rest on networks, their input and how windows are laid; trained weights do not change them."""
        networks = {run: lineage.timed(self._catalog.run(run)) for run in self._catalog.runs(target)}
        return self.chain.product("measure_latency", self._layout.made(f"latency-{target.target}"), networks, ())

    def table(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"table/{wildcards.target}", self._table(self._catalog.target(wildcards.target)))

    def table_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._table(self._catalog.target(wildcards.target)))

    def _table(self, target: Target) -> State:
        inputs = [*self._scores(target), *self._controls_of(target)]
        if target.is_counted:
            inputs.append(self._cost(target))
        if self._products.times(target):
            inputs.append(self._latency(target))
        unit = self._wiring.settings.significance_unit
        rests_on = {**self._specification(target), "unit": unit, **lineage.code("table")}
        return self.chain.product("build_table", self._layout.made(target.target), rests_on, inputs)

    def figure(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"figure/{wildcards.target}", self._figure(self._catalog.target(wildcards.target)))

    def figure_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._figure(self._catalog.target(wildcards.target)))

    def _figure(self, target: Target) -> State:
        tables = [self._table(self._catalog.target(name)) for name in target.drawn_tables]
        fields = [self._receptive_field(run) for run in self._products.fields_of(target)]
        features = [self._features(run) for run in self._products.featured(target)]
        rests_on = {**self._specification(target), **lineage.code("figure")}
        inputs = [*self._scores(target), *tables, *fields, *features]
        return self.chain.product("build_figure", self._layout.made(target.target), rests_on, inputs)

    def curves(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"training/{wildcards.target}", self._curves(self._catalog.target(wildcards.target)))

    def curves_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._curves(self._catalog.target(wildcards.target)))

    def _curves(self, target: Target) -> State:
        inputs = [self.chain.trained(training) for training in self._products.trainings_of(target)]
        record = self._layout.made(f"training-{target.target}")
        return self.chain.product(
            "draw_training", record, {**self._specification(target), **lineage.code("figure")}, inputs
        )

    def published(self, wildcards: Wildcards) -> list[str]:
        return self._note(f"published/{wildcards.target}", self._published(self._catalog.target(wildcards.target)))

    def published_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._published(self._catalog.target(wildcards.target)))

    def _published(self, target: Target) -> State:
        drawn = {name: self._specification(self._catalog.target(name)) for name in target.drawn_tables}
        rests_on = {**self._specification(target), "tables": drawn, **lineage.code("figure")}
        return self.chain.product("draw_published", self._layout.made(f"published-{target.target}"), rests_on, ())

    def page(self, name: str) -> Any:
        """Input function of one of the pages about the papers as a whole."""
        return lambda wildcards: self._note(f"page/{name}", self._page(name))

    def page_made(self, name: str) -> Any:
        return lambda wildcards: _words(self._page(name))

    def _page(self, name: str) -> State:
        targets = self._wiring.targets
        inputs = [self._table(target) for target in targets if target.kind == "table" and name == "coverage"]
        inputs += [self._cost(target) for target in targets if target.is_counted and name == "audit"]
        rests_on = {"papers": self._papers, **lineage.code("page")}
        if name == "budget":
            rests_on |= self._products.budget_settings
        return self.chain.product(f"page {name}", self._layout.made(f"page-{name}"), rests_on, inputs)

    def index(self, wildcards: Wildcards) -> list[str]:
        return self._note("page/index", self._index())

    def index_made(self, wildcards: Wildcards) -> list[str]:
        return _words(self._index())

    def _index(self) -> State:
        """The interactive page, which follows everything that it shows or links."""
        targets, drawn = self._wiring.targets, self._products
        inputs = [(self._table if target.kind == "table" else self._figure)(target) for target in targets]
        inputs += [self._published(target) for target in drawn.drawn_published()]
        inputs += [self._curves(self._catalog.target(name)) for name in drawn.with_curves()]
        inputs += [self.chain.case_pictures(run) for run in drawn.pictured_runs()]
        inputs += [self._page(name) for name in PAGES]
        rests_on = {"papers": self._papers, "scale": self._wiring.settings.scale, **lineage.code("index")}
        return self.chain.product("build_page", self._layout.made("index"), rests_on, inputs)

    # What products rest on, beside results

    def _scores(self, target: Target) -> Iterable[State]:
        return [self.chain.scored(run) for run in self._wiring.ready_runs(target)]

    def _controls_of(self, target: Target) -> Iterable[State]:
        told = [self._point_control(paper, protocol) for paper, protocol in self._products.told_protocols(target)]
        return [*(self._controls(paper, protocol) for paper, protocol in self._products.protocols(target)), *told]

    def _specification(self, target: Target) -> Mapping[str, Any]:
        """Rows, columns, claims and ledger of a target: comments and layout of the yaml do not count."""
        folder = self._catalog.papers[target.paper]
        measured = sorted((self._catalog.paper_folder(target.paper) / "measured").glob("latency.*.csv"))
        texts = [self._catalog.paper_folder(target.paper) / "contradictions.csv", *measured]
        reasons = {run: self._layout.absent(run) for run in self._catalog.runs(target)}
        absent = {run: reason for run, reason in reasons.items() if reason}
        return {
            **({"absent": absent} if absent else {}),
            "target": target.model_dump(mode="json"),
            "ledger": [entry.model_dump(mode="json") for entry in folder.ledger],
            "files": [path.read_text(encoding="utf-8") for path in texts if path.is_file()],
            "runs": self._wiring.ready_runs(target),
            "scale": self._wiring.settings.scale,
        }

    @cached_property
    def _papers(self) -> str:
        """Everything that was published and how it is rebuilt."""
        papers = {
            name: [
                folder.paper.model_dump(mode="json"),
                *({key: value.model_dump(mode="json") for key, value in part.items()}
                  for part in (folder.models, folder.protocols, folder.targets)),
                [entry.model_dump(mode="json") for entry in folder.ledger],
            ]
            for name, folder in self._catalog.papers.items()
        }  # fmt: skip
        files = sorted(Path(self._catalog.folder).rglob("*.csv"))
        sources = self._catalog.folder / "datasets.yaml"
        texts = [path.read_text(encoding="utf-8") for path in (*files, *([sources] if sources.is_file() else []))]
        return value_digest([papers, texts])


def _words(state: State) -> list[str]:
    """What a product is made of, for its command to record: its specification, and the records of what it reads."""
    return [state.made["specification"], *state.rests_on]


def _make_older(path: str | Path, than: float) -> None:
    """Snakemake ends with an error where an input is newer than what was just made of it."""
    if Path(path).is_file() and Path(path).stat().st_mtime > than:
        os.utime(path, (than, than))


async def pass_over(dag: object, job: object, outputs: object) -> None:
    """In the place of Snakemake's own check after a job, which stops the workflow where an input is newer than what was
    made of it: where the clock of a file server or of one node is ahead, or files were copied from such a machine.
    """


async def take_as_whole(dag: object) -> None:
    """In the place of Snakemake's own check before a run, which makes everything anew that a killed job had begun.

    Our files are moved into place whole, and the record of what made them is written last, so what is there counts.
    Snakemake's marks did harm: behind a job that ran because of one, it looked at no other, and stopped halfway.
    """
