"""Weights that a stage begins from, by their record: a finished training's trained.json, or that of a released file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.errors import InputError
from benchmark.files import file_digest, read_json
from benchmark.lineage import Made
from benchmark.settings import RunConfig


@dataclass(frozen=True)
class WeightsAtHand:
    """A file of weights.

    Attributes:
        path: of the file.
        sha256: of its content.
        digest: of what it was made of; for a released file, of its name.
        made: what it was made of; None for a released file.
        released: name in the registry of released weights; None for trained ones.
    """

    path: Path
    sha256: str
    digest: str
    made: Made | None = None
    released: str | None = None


def weights_at_hand(record: Path, training: RunConfig | None) -> WeightsAtHand:
    """The weights that a record names.

    Args:
        record: trained.json, or the record of a released file.
        training: what the weights have to be trained by; None where any training, or none, will do.

    Raises:
        InputError: the record is missing or damaged, of another training, or its weights are gone or are not those
            that it names.
    """
    try:
        found = read_json(record)
        if "weights" not in found:
            return _released(found, record)
        made, path = found["made"], record.parent / found["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this is not a finished training", where=record, found=error, remedy="run `retable train`"
        ) from None
    if training is not None:
        _refuse_another(made, training, record)
    _check_content(path, found["sha256"], record)
    return WeightsAtHand(path, found["sha256"], lineage.digest_of(made), made)


def _released(found: dict[str, Any], record: Path) -> WeightsAtHand:
    path = Path(found["path"])
    _check_content(path, found["sha256"], record)
    return WeightsAtHand(path, found["sha256"], lineage.released_digest(found["name"]), released=found["name"])


def _refuse_another(made: Made, training: RunConfig, record: Path) -> None:
    wanted = {**lineage.training_settings(training), **lineage.code("network", training.model.name)}
    other = lineage.difference({key: made.get(key) for key in wanted}, wanted)
    if other:
        raise InputError(
            "the training is of another configuration",
            where=record,
            found=other,
            remedy="train again, or go on with the paper_tables and scale that it was trained with",
        )


def _check_content(path: Path, expected: str, record: Path) -> None:
    if not path.is_file():
        raise InputError("the weights of the training are gone", where=path, remedy=f"remove {record} and train again")
    digest = file_digest(path)
    if digest != expected:
        raise InputError(
            "the weights are not those that the training wrote",
            where=path,
            expected=expected,
            found=digest,
            remedy=f"remove {record} and train again",
        )
