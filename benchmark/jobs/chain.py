"""Which results are current: what each would be made of today, beside what its file says that it was made of.

Everything is worked out before a job starts, from the settings, the raw files and the versions of the code; so a dry
run knows it too. Nothing rests on times of files, on Snakemake's own records, or on where the results folder lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.files import read_json, value_digest
from benchmark.jobs.data_chain import UNKNOWN, DataChain, State
from benchmark.scoring.conventions import convention_digests
from benchmark.settings import RunConfig


class Chain(DataChain):
    """States of all results of one configuration; arguments as of `DataChain`."""

    def trained(self, training: str) -> State:
        return self._state("trained", training, self._trained)

    def _trained(self, training: str) -> State:
        config = self.catalog.run(training, self.scale)
        data = {
            store.id: self._data(store, ("train",), "case", dataset=store.dataset if config.joint else config.dataset)
            for store in config.stores
        }
        beginnings = {beginning.part: self.trained(beginning.training) for beginning in config.begins_from}
        begins_from = {part: state.digest for part, state in beginnings.items()}
        for part, name in zip(lineage.released_parts(config), config.model.released, strict=True):
            begins_from[part] = self.weights(name).digest
        made = lineage.trained(config, data=data, begins_from=begins_from)
        stores, begun = tuple(map(self.prepared, config.stores)), tuple(beginnings.values())
        return self._compare("train_run", self.layout.trained(training), made, inputs=stores, follows=begun)

    def weights(self, name: str) -> State:
        """Released weights: which file they are is settled when they are found, and recorded."""
        record = Path(self.layout.weights(name))
        return State(lineage.released_digest(name), exists=record.is_file())

    def weights_of(self, config: RunConfig) -> State:
        """What a run predicts with: the weights of its training, or released ones."""
        if config.training_id is None:
            return self.weights(config.model.initialisation)
        return self.trained(config.training_id)

    def _predicted_cases(self, config: RunConfig, kind: str, *also: str) -> str:
        """Digest of the cases that a run predicts, and of those of other parts, by `kind` as in `_data`."""
        return self._data(config.store, (*also, *config.inference.splits), kind, dataset=config.dataset)

    def prompts(self, run: str) -> State:
        """The points that a run is told, which all runs on its store share."""
        path = self.layout.prompts_for(self.catalog.run(run, self.scale))
        return self._state("prompts", path, lambda _: self._prompts(run, path))

    def _prompts(self, run: str, path: str) -> State:
        config = self.catalog.run(run, self.scale)
        references = self._predicted_cases(config, "reference")
        made = lineage.prompts(config, references=references)
        return self._compare("draw_prompts", path, made, inputs=(self.prepared(config.store),))

    def predicted(self, run: str) -> State:
        return self._state("predicted", run, self._predicted)

    def _predicted(self, run: str) -> State:
        if run in self.layout.predictions:
            return self._handed_in(run)
        config = self.catalog.run(run, self.scale)
        weights, store = self.weights_of(config), self.prepared(config.store)
        data = self._predicted_cases(config, "image")
        told = self.prompts(run) if config.inference.method == "prompted" else None
        made = lineage.predicted(
            config, weights=weights.digest, data=data, prompts=None if told is None else told.digest
        )
        follows = (weights,) if told is None else (weights, told)
        state = self._compare("predict_cases", self.layout.predicted(run), made, inputs=(store,), follows=follows)
        return state if state.why or config.training_id is None else self._other_weights(run, config.training_id, state)

    def _handed_in(self, run: str) -> State:
        """Label maps made elsewhere. Only what has changed since they were scored is read."""
        record = Path(self.layout.scores_record(run))
        if not record.is_file():
            return State(UNKNOWN, exists=True)
        known = read_json(record).get("handed_in")
        files = lineage.contents(Path(self.layout.predictions_of(run)), known)
        return State(lineage.contents_digest(files), exists=True)

    def _other_weights(self, run: str, training: str, state: State) -> State:
        """On a GPU the same training may end in other weights: then its predictions are made anew as well."""
        try:
            used = read_json(self.layout.predicted(run))["weights_sha256"]
            trained = read_json(self.layout.trained(training))["sha256"]
        except (OSError, ValueError, KeyError):
            return state
        return state if used == trained else replace(state, why=f"weights: {used[:12]}, now {trained[:12]}")

    def scored(self, run: str) -> State:
        return self._state("scored", run, self._scored)

    def _scored(self, run: str) -> State:
        if run in self.layout.scores:
            path = self.layout.scored(run)
            return State(lineage.recorded_digest(path), exists=True, record=path)
        config = self.catalog.run(run, self.scale)
        predicted, store = self.predicted(run), self.prepared(config.store)
        references = self._predicted_cases(config, "reference")
        rules = convention_digests(config.convention)
        made = lineage.scored(predictions=predicted.digest, references=references, conventions=rules)
        record = self.layout.scores_record(run)
        return self._compare("score_run", record, made, inputs=(store,), follows=(predicted,))

    def controls(self, paper: str, protocol: str, run: str) -> State:
        return self._state("controls", f"{paper}/{protocol}", lambda _: self._controls(paper, protocol, run))

    def _controls(self, paper: str, protocol: str, run: str) -> State:
        config = self.catalog.run(run, self.scale)
        references = self._predicted_cases(config, "reference", "train")
        rules = convention_digests(config.convention)
        made = lineage.scored(predictions="controls", references=references, conventions=rules)
        made |= lineage.code("controls")
        record = self.layout.controls_record(paper, protocol)
        return self._compare("score_controls", record, made, inputs=(self.prepared(config.store),))

    def point_control(self, paper: str, protocol: str, run: str) -> State:
        return self._state("point control", f"{paper}/{protocol}", lambda _: self._point_control(paper, protocol, run))

    def _point_control(self, paper: str, protocol: str, run: str) -> State:
        told, controls = self.prompts(run), self.controls(paper, protocol, run)
        made = {**controls.made, "prompts": told.digest}
        record = self.layout.point_control_record(paper, protocol)
        store = self.prepared(self.catalog.run(run, self.scale).store)
        return self._compare("score_point_control", record, made, inputs=(store,), follows=(told,))

    def receptive_field(self, run: str, options: str) -> State:
        return self._state("field", run, lambda _: self._receptive_field(run, options))

    def _receptive_field(self, run: str, options: str) -> State:
        config = self.catalog.run(run, self.scale)
        weights, store = self.weights_of(config), self.prepared(config.store)
        data = self._predicted_cases(config, "image")
        made = lineage.receptive_field(config, weights=weights.digest, data=data, options=options)
        record = str(Path(self.layout.receptive_field(run)).with_suffix(".json"))
        return self._compare("measure_receptive_field", record, made, inputs=(store,), follows=(weights,))

    def features(self, run: str, options: str) -> State:
        return self._state("features", run, lambda _: self._features(run, options))

    def _features(self, run: str, options: str) -> State:
        config = self.catalog.run(run, self.scale)
        weights, store = self.weights_of(config), self.prepared(config.store)
        data = self._predicted_cases(config, "image")
        made = lineage.features(config, weights=weights.digest, data=data, options=options)
        record = str(Path(self.layout.features(run)).with_suffix(".json"))
        return self._compare("extract_features", record, made, inputs=(store,), follows=(weights,))

    def reconstruction(self, training: str) -> State:
        return self._state("reconstruction", training, self._reconstruction)

    def _reconstruction(self, training: str) -> State:
        config = self.catalog.run(training, self.scale)
        weights, store = self.trained(training), self.prepared(config.store)
        data = self._predicted_cases(config, "image")
        made = lineage.reconstruction(config, weights=weights.digest, data=data)
        record = str(Path(self.layout.reconstruction(training)).with_suffix(".json"))
        return self._compare("reconstruct_images", record, made, inputs=(store,), follows=(weights,))

    def case_pictures(self, run: str) -> State:
        return self._state("case pictures", run, self._case_pictures)

    def _case_pictures(self, run: str) -> State:
        scored, store = self.scored(run), self.prepared(self.catalog.run(run, self.scale).store)
        made = lineage.case_pictures(scores=scored.digest)
        return self._compare("draw_cases", self.layout.case_pictures(run), made, inputs=(store,), follows=(scored,))

    # Products

    def product(self, rule: str, record: str, rests_on: Mapping[str, Any], inputs: Iterable[State]) -> State:
        """A table, figure, page or count: `rests_on` is everything of the catalog that it shows."""
        inputs = tuple(inputs)
        made = {"specification": value_digest(dict(rests_on)), "inputs": value_digest([one.digest for one in inputs])}
        state = self._state(rule, record, lambda _: self._compare(rule, record, made, inputs=(), follows=inputs))
        return replace(state, rests_on=tuple(found.record for found in inputs))
