"""Which results are current: what each would be made of today, beside what its file says that it was made of.

Everything is worked out before a job starts, from the settings, the raw files and the versions of the code; so a dry
run knows it too. Nothing rests on times of files, on Snakemake's own records, or on where the results folder lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.catalog.catalog import Catalog
from benchmark.data.fetch import origin
from benchmark.data.prepare import case_digests, store_made
from benchmark.data.raw_files import PreparedDigests, RawCase, content_digest, digest_of_cases, raw_cases
from benchmark.data.split import make_split
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json, value_digest
from benchmark.layout import Layout
from benchmark.lineage import Made
from benchmark.scoring.conventions import convention_digests
from benchmark.settings import PreparedData, RunConfig, Scale

UNKNOWN = "?"  # of a dataset that is not here yet: what is recorded counts


@dataclass(frozen=True)
class State:
    """One result.

    Attributes:
        digest: of what it would be made of today, which is `made` where the result is ours.
        exists: whether it was ever made.
        why: what is different in the result that exists, or why a missing one has to wait; empty where nothing is.
        forced: whether a user asked for it, or for what it directly follows from, to be made anew.
        record: the file that says what it was made of; the result itself, where it was made elsewhere.
        rests_on: of a product, the records of what it reads.
        after: records of everything before it that is made anew.
    """

    digest: str
    exists: bool = False
    why: str = ""
    forced: bool = False
    made: Made = field(default_factory=dict)
    record: str = ""
    rests_on: tuple[str, ...] = ()
    after: frozenset[str] = frozenset()


class Chain:
    """States of all results of one configuration, each worked out once.

    Args:
        catalog, layout, scale: what is to be made, and where it lies.
        roots: dataset → local folder, where a user gave one.
        forced: names of rules and files that the user has asked to be made anew (`-R`, `-F`), asked when needed.
    """

    def __init__(
        self,
        catalog: Catalog,
        layout: Layout,
        scale: Scale,
        *,
        roots: Mapping[str, str],
        forced: Callable[[str, str], bool] = lambda rule, path: False,
    ) -> None:
        self.catalog, self.layout, self.scale, self.roots, self.forced = catalog, layout, scale, roots, forced
        self._states: dict[tuple[str, str], State] = {}
        self._raw: dict[str, dict[str, RawCase] | None] = {}
        self._digests: dict[str, dict[str, PreparedDigests] | None] = {}

    # Data

    def source(self, dataset: str) -> State:
        return self._state("source", dataset, self._source)

    def _source(self, dataset: str) -> State:
        record = self.layout.source(dataset)
        made = origin(get_dataset(dataset), root=self.roots.get(dataset), phantom=self.scale == "demo")
        cases = self.raw(dataset)
        content = UNKNOWN if cases is None else content_digest(cases)
        state = self._compare("fetch_dataset", record, {**made, "content": content}, inputs=())
        return state if state.why else self._elsewhere(dataset, state)

    def _elsewhere(self, dataset: str, state: State) -> State:
        """A folder that a user now gives for a dataset has to be written down, whatever it holds."""
        if dataset not in self.roots or not state.exists:
            return state
        path = Path(state.record)
        before, now = path.parent / read_json(path)["root"], Path(self.roots[dataset])
        return state if before.resolve() == now.resolve() else replace(state, why=f"folder: {before}, now {now}")

    def raw(self, dataset: str) -> dict[str, RawCase] | None:
        """The raw cases as they are now; None where the dataset has not been fetched yet.

        Where the raw files have gone since, what they were counts.
        """
        if dataset not in self._raw:
            self._raw[dataset] = self._read_raw(dataset)
        return self._raw[dataset]

    def _read_raw(self, dataset: str) -> dict[str, RawCase] | None:
        path = Path(self.layout.source(dataset))
        try:
            source = read_json(path)
            known = source["files"]
        except (OSError, ValueError, KeyError):
            return None
        root = Path(self.roots.get(dataset) or path.parent / source["root"])
        if not root.is_dir():
            return {case: RawCase(*digests) for case, digests in known.items()}
        return raw_cases(get_dataset(dataset), root, known)

    def verified(self, dataset: str) -> State:
        return self._state("verified", dataset, self._verified)

    def _verified(self, dataset: str) -> State:
        source = self.source(dataset)
        made = {"source": source.digest, **lineage.code("verify")}
        return self._compare("verify_dataset", self.layout.verified(dataset), made, inputs=(source,))

    def split(self, dataset: str) -> State:
        return self._state("split", dataset, self._split)

    def _split(self, dataset: str) -> State:
        verified = self.verified(dataset)
        parts = self._parts(dataset)
        made = {"split": UNKNOWN if parts is None else parts["digest"], **lineage.code("split")}
        return self._compare("split_cases", self.layout.split(dataset), made, inputs=(verified,))

    def split_checked(self, dataset: str) -> State:
        split = self.split(dataset)
        record = self.layout.split_checked(dataset)
        return self._state(
            "checked", dataset, lambda _: self._compare("check_split", record, split.made, inputs=(split,))
        )

    def _parts(self, dataset: str) -> dict[str, Any] | None:
        """Content of split.json as it would be written today; None where that cannot be told before `split` runs."""
        path = Path(self.layout.source(dataset))
        if self.raw(dataset) is None:
            return None
        source = read_json(path)
        root = Path(self.roots.get(dataset) or path.parent / source["root"])
        if not root.is_dir():
            recorded = Path(self.layout.split(dataset))
            return read_json(recorded) if recorded.is_file() else None
        try:
            facts = get_dataset(dataset)
            return make_split(facts, facts.find_cases(root), kind=source["kind"])
        except InputError:
            return None  # `split` will say what is wrong

    def prepared(self, store: PreparedData) -> State:
        return self._state("prepared", store.id, lambda _: self._prepared(store))

    def _prepared(self, store: PreparedData) -> State:
        split, digests = self.split(store.dataset), self.digests(store)
        cases = UNKNOWN if digests is None else digest_of_cases(digests, "case")
        made = {**store_made(store), "cases": cases}
        return self._compare("prepare_cases", self.layout.prepared(store.dataset, store.id), made, inputs=(split,))

    def digests(self, store: PreparedData) -> dict[str, PreparedDigests] | None:
        """Digests of the prepared cases as they would be today; None where the dataset has not been fetched yet."""
        if store.id not in self._digests:
            raw, parts = self.raw(store.dataset), self._parts(store.dataset)
            if raw is None or parts is None:
                self._digests[store.id] = None
            else:
                self._digests[store.id] = case_digests(store, raw, parts)
        return self._digests[store.id]

    def _data(self, store: PreparedData, parts: Iterable[str], kind: str) -> str:
        """Digest of the cases of some parts of a split: as images, whole cases or references."""
        digests, split = self.digests(store), self._parts(store.dataset)
        if digests is None or split is None:
            return UNKNOWN
        return digest_of_cases({case: digests[case] for part in parts for case in split[part]}, kind)

    # Trainings and runs

    def trained(self, training: str) -> State:
        return self._state("trained", training, self._trained)

    def _trained(self, training: str) -> State:
        config = self.catalog.run(training, self.scale)
        data = {store.id: self._data(store, ("train",), "case") for store in config.stores}
        beginnings = {beginning.part: self.trained(beginning.training) for beginning in config.begins_from}
        begins_from = {part: state.digest for part, state in beginnings.items()}
        if config.model.initialisation != "scratch":
            begins_from["released"] = self.weights(config.model.initialisation).digest
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

    def prompts(self, run: str) -> State:
        """The points that a run is told, which all runs on its store share."""
        path = self.layout.prompts_for(self.catalog.run(run, self.scale))
        return self._state("prompts", path, lambda _: self._prompts(run, path))

    def _prompts(self, run: str, path: str) -> State:
        config = self.catalog.run(run, self.scale)
        references = self._data(config.store, config.inference.splits, "reference")
        made = lineage.prompts(config, references=references)
        return self._compare("draw_prompts", path, made, inputs=(self.prepared(config.store),))

    def predicted(self, run: str) -> State:
        return self._state("predicted", run, self._predicted)

    def _predicted(self, run: str) -> State:
        if run in self.layout.predictions:
            return self._handed_in(run)
        config = self.catalog.run(run, self.scale)
        weights, store = self.weights_of(config), self.prepared(config.store)
        data = self._data(config.store, config.inference.splits, "image")
        told = self.prompts(run) if config.inference.method == "prompted" else None
        made = lineage.predicted(config, weights=weights.digest, data=data, prompts=told and told.digest)
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
        references = self._data(config.store, config.inference.splits, "reference")
        rules = convention_digests(config.convention)
        made = lineage.scored(predictions=predicted.digest, references=references, conventions=rules)
        record = self.layout.scores_record(run)
        return self._compare("score_run", record, made, inputs=(store,), follows=(predicted,))

    def controls(self, paper: str, protocol: str, run: str) -> State:
        return self._state("controls", f"{paper}/{protocol}", lambda _: self._controls(paper, protocol, run))

    def _controls(self, paper: str, protocol: str, run: str) -> State:
        config = self.catalog.run(run, self.scale)
        references = self._data(config.store, ("train", *config.inference.splits), "reference")
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
        data = self._data(config.store, config.inference.splits, "image")
        made = lineage.receptive_field(config, weights=weights.digest, data=data, options=options)
        record = str(Path(self.layout.receptive_field(run)).with_suffix(".json"))
        return self._compare("measure_receptive_field", record, made, inputs=(store,), follows=(weights,))

    def features(self, run: str, options: str) -> State:
        return self._state("features", run, lambda _: self._features(run, options))

    def _features(self, run: str, options: str) -> State:
        config = self.catalog.run(run, self.scale)
        weights, store = self.weights_of(config), self.prepared(config.store)
        data = self._data(config.store, config.inference.splits, "image")
        made = lineage.features(config, weights=weights.digest, data=data, options=options)
        record = str(Path(self.layout.features(run)).with_suffix(".json"))
        return self._compare("extract_features", record, made, inputs=(store,), follows=(weights,))

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

    # How states are made

    def _state(self, kind: str, name: str, make: Callable[[str], State]) -> State:
        if (kind, name) not in self._states:
            self._states[kind, name] = make(name)
        return self._states[kind, name]

    def _compare(
        self, rule: str, record: str, made: Made, *, inputs: Sequence[State], follows: Sequence[State] = ()
    ) -> State:
        """The state of a result, from its record and what it would be made of today.

        Args:
            inputs: what it reads, made anew before it where necessary; it need not change with them.
            follows: inputs that it always follows, since they may come out otherwise with the same settings.
        """
        exists = Path(record).is_file()
        recorded = (lineage.read_made(record) or {}) if exists else {}
        made = {key: recorded.get(key, value) if value == UNKNOWN else value for key, value in made.items()}
        why = lineage.difference(recorded, made) if exists else ""
        waits = next((found.why for found in (*inputs, *follows) if found.why), "")
        forced = self.forced(rule, record) or any(found.forced for found in follows)
        if not why and (forced or (waits and not exists)):
            why = waits or "asked for"
        after = {found.record for found in (*inputs, *follows) if found.why} | {
            path for found in (*inputs, *follows) for path in found.after
        }
        return State(lineage.digest_of(made), exists, why, forced, made, record, after=frozenset(after))
