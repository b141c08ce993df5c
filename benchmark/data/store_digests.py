"""What decides a prepared store, without preparing it: Snakemake asks at each start, and imports no numba for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark import lineage
from benchmark.data.raw_files import PreparedDigests, RawCase, prepared_digests, training_content
from benchmark.data.split import SPLITS
from benchmark.datasets import get_dataset
from benchmark.lineage import Made
from benchmark.settings import PreparedData


def store_made(store: PreparedData) -> Made:
    """What makes a prepared store, its cases apart: settings, structures, channels, code."""
    dataset = get_dataset(store.dataset)
    return {
        **lineage.flat(store.model_dump(mode="json", exclude={"labels"})),
        "label_names": list(store.labels or dataset.label_names),
        "channels": list(dataset.channels),
        **lineage.code("prepare"),
        **lineage.code("dataset", store.dataset),
    }


def case_digests(
    store: PreparedData, raw: Mapping[str, RawCase], split: Mapping[str, Any]
) -> dict[str, PreparedDigests]:
    """Digests of the cases of a split, prepared for a store. Where something is planned, all training cases count."""
    made = store_made(store)
    if store.preparation.planned:
        made["planned_from"] = training_content(raw, split)
    decisive = store.patch is not None or not get_dataset(store.dataset).chosen_split
    return {
        case: prepared_digests(raw[case], made, part=part if decisive else "", patch=store.patch)
        for part in SPLITS
        for case in split[part]
    }
