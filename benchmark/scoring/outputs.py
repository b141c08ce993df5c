"""Scores as files: Parquet, CSV or JSON, as the file's ending says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from benchmark.errors import InputError
from benchmark.files import atomic_path

SUFFIXES = (".parquet", ".csv", ".json")


def check_out(out: Path | None) -> None:
    """The suffix says what is written.

    Raises:
        InputError: it is none that scores are written as.
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise InputError("scores are written as Parquet, CSV or JSON", where=out, expected=" or ".join(SUFFIXES))


def write_scores(parts: Sequence[Path], out: Path) -> None:
    """The rows of Parquet files of scores, one after the other, as one file of the kind that `out` ends in.

    No value is an empty field in CSV and null in JSON, where an infinite distance is the text "inf". JSON has one row
    a line. A single Parquet file keeps its metadata; of several those of the first are kept.
    """
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".json": _write_json}
    with atomic_path(out) as temporary:
        writers[out.suffix.lower()](parts, temporary)


def _write_parquet(parts: Sequence[Path], out: Path) -> None:
    with pq.ParquetWriter(out, pq.read_schema(parts[0]), compression="zstd") as writer:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches():
                writer.write_batch(batch.replace_schema_metadata(writer.schema.metadata))


def _write_csv(parts: Sequence[Path], out: Path) -> None:
    schema = pq.read_schema(parts[0])
    with csv.CSVWriter(out, schema) as writer:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches():
                values = batch.column("value")
                empty = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
                batch = batch.set_column(batch.schema.get_field_index("value"), "value", empty)
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _write_json(parts: Sequence[Path], out: Path) -> None:
    rows = (row for part in parts for batch in pq.ParquetFile(part).iter_batches() for row in batch.to_pylist())
    with out.open("w", encoding="utf-8") as stream:
        for number, row in enumerate(rows):
            row["value"] = _json_number(row["value"])
            stream.write((",\n" if number else "[\n") + json.dumps(row, ensure_ascii=False))
        stream.write("\n]\n")


def _json_number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value
