"""Which data are current, from raw files to prepared stores, and how the state of any result is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.catalog.catalog import Catalog
from benchmark.data.fetch import origin
from benchmark.data.raw_files import PreparedDigests, RawCase, content_digest, digest_of_cases, raw_cases
from benchmark.data.split import make_split
from benchmark.data.store_digests import case_digests, store_made
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.layout import Layout
from benchmark.lineage import Made
from benchmark.settings import PreparedData, Scale
from benchmark.settings.folds import whole_of

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


class DataChain:
    """States of all data of one configuration, each worked out once.

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

    def source(self, dataset: str) -> State:
        return self._state("source", whole_of(dataset), self._source)

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
        dataset = whole_of(dataset)
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
        root = self._root(dataset, source)
        if not root.is_dir():
            return {case: RawCase(*digests) for case, digests in known.items()}
        return raw_cases(get_dataset(dataset), root, known)

    def _root(self, dataset: str, source: Mapping[str, Any]) -> Path:
        """Where the raw files are: in the folder given today, else where source.json says."""
        return Path(self.roots.get(whole_of(dataset)) or Path(self.layout.source(dataset)).parent / source["root"])

    def verified(self, dataset: str) -> State:
        return self._state("verified", whole_of(dataset), self._verified)

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
        root = self._root(dataset, source)
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

    def _data(self, store: PreparedData, parts: Iterable[str], kind: str, *, dataset: str) -> str:
        """Digest of the cases of some parts of the split of `dataset`, which may be a fold: as images, whole cases or
        references."""
        digests, split = self.digests(store), self._parts(dataset)
        if digests is None or split is None:
            return UNKNOWN
        return digest_of_cases({case: digests[case] for part in parts for case in split[part]}, kind)

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
