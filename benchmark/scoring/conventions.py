"""Scoring conventions as typed, named objects, read from conventions.yaml.

The convention moves a result more than most claimed gains: what an absent structure scores, in which order means are
taken, what counts as surface. So every score carries the name of the convention it was made with.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmark.errors import InputError, did_you_mean
from benchmark.files import load_yaml, value_digest

CANONICAL = "canonical"
BUILT_IN = Path(__file__).with_name("conventions.yaml")

OVERLAP_METRICS = ("dsc", "iou")
SURFACE_METRICS = ("nsd", "hd", "hd95", "assd")
INSTANCE_METRICS = ("f1", "precision", "recall")
VOLUME_METRICS = ("volume_reference", "volume_prediction")  # facts, the same in every convention
DISTANCE_METRICS = ("hd", "hd95", "assd")  # the lower the better, with a unit

Metric = Literal["dsc", "iou", "nsd", "hd", "hd95", "assd", "f1", "precision", "recall"]
Situation = Literal["both_empty", "empty_reference", "empty_prediction", "missing_prediction"]
Status = Situation | Literal["ok"]  # "ok": both have the structure
Definition = Literal["surface_elements", "voxel_edges"]  # what a surface is; benchmark.scoring.surface says how
PercentileRule = Literal["step", "linear"]
Pooling = Literal["directed", "pooled"]


def _number_or_word(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value not in ("skip", "worst")):
        raise ValueError("a number, skip or worst")
    return value


EmptyScore = Annotated[float | Literal["skip", "worst"], BeforeValidator(_number_or_word)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmptyRule(_Part):
    """What a metric scores when a mask is empty or the prediction's file is missing.

    A number, `skip` for no value, or `worst`: 0 for shares, the convention's `worst_distance` for distances.
    """

    both_empty: EmptyScore
    empty_reference: EmptyScore
    empty_prediction: EmptyScore
    missing_prediction: EmptyScore


class Surface(_Part):
    """Which surface, and how its two directions become one number (benchmark.scoring.surface says what each means).

    `percentile` is that of the metric named hd95. `planar_as_volume` measures an image as a volume of one slice, whose
    front and back faces then count as surface.
    """

    definition: Definition
    percentile_rule: PercentileRule
    hausdorff_pooling: Pooling
    assd_pooling: Pooling
    percentile: float = Field(default=95.0, gt=0, lt=100)
    planar_as_volume: bool = False


class Tolerances(_Part):
    """Tolerance of the normalised surface distance, in the unit of the spacing.

    A class listed in `classes` has its own; else `images` holds for two-dimensional maps (pixels) where given, and
    `default` for everything else.
    """

    default: float | None = Field(default=None, ge=0)
    images: float | None = Field(default=None, ge=0)
    classes: dict[str, Annotated[float, Field(ge=0)]] = {}


class Crop(_Part):
    """Score some classes only within the reference's extent along one array axis.

    With `upper: exclusive` the last labelled slice is lost too (FLARE22's `[z_lower:z_upper]`).
    """

    classes: tuple[str, ...]
    axis: Literal[0, 1, 2]
    upper: Literal["exclusive", "inclusive"]


class Rounding(_Part):
    """Round every value, or the mean over classes of every case, before anything is averaged further."""

    decimals: int = Field(ge=0)
    of: Literal["value", "case"]


class Instances(_Part):
    """How instances are decoded and matched; benchmark.scoring.instances says what each field means."""

    decoding: Literal["components", "boundary_aware", "labels"]
    thresholds: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)
    foreground: int = 1
    boundary: int = 2
    remove_border: int = Field(default=0, ge=0)
    tile_from_pixels: int | None = None
    tile_size: int = 2000


class Convention(_Part):
    """One way to turn label maps into numbers and numbers into one number.

    Attributes:
        rules: the metrics this convention defines, each with what it scores in the four empty situations.
        averaging: `cases_then_classes`, a mean over cases per class and then over classes, or the other way round.
        beside: conventions that the same predictions are scored by as well, for compare.csv.
        grid: that maps are compared on: `raw`, or `network`, slices as large as the network sees them (a run's own
            labels there, and references resized with order 0).
        slices: every slice of a volume is a case of its own, for the structures that its reference shows.
        spacing: `header` (the reference file's, mm), `unit` (voxels), or fixed values per axis.
        worst_distance: what `worst` means for distances, in the unit of the spacing, and the largest distance that any
            case scores. One number for all cases: were it a case's own diagonal, failing on a small image
            could lower the mean of the others.
    """

    name: str
    title: str
    source: str
    notes: str = ""
    beside: tuple[str, ...] = ()
    averaging: Literal["cases_then_classes", "classes_then_cases"]
    grid: Literal["raw", "network"] = "raw"
    slices: bool = False
    spacing: Literal["header", "unit"] | tuple[Annotated[float, Field(gt=0)], ...]
    rules: dict[Metric, EmptyRule]
    worst_distance: float | None = Field(default=None, gt=0)
    rounding: Rounding | None = None
    surface: Surface | None = None
    tolerances: Tolerances | None = None
    crop: Crop | None = None
    instances: Instances | None = None
    aliases: dict[str, str] = {}

    @model_validator(mode="after")
    def _complete(self) -> Convention:
        if self.grid == "network" and (self.spacing != "unit" or self.crop or self.instances):
            raise ValueError("grid network needs spacing unit, and has no crop and no instances")
        if self.slices and (self.grid == "network" or self.crop or self.instances):
            raise ValueError("slices are scored on the raw grid, without a crop and without instances")
        needs: dict[str, list[Metric]] = {
            "surface": [m for m in self.rules if m in SURFACE_METRICS],
            "tolerances": [m for m in self.rules if m == "nsd"],
            "instances": [m for m in self.rules if m in INSTANCE_METRICS],
        }
        penalised = (m for m in self.rules if m in DISTANCE_METRICS)
        needs["worst_distance"] = [m for m in penalised if "worst" in self.rules[m].model_dump().values()]
        for part, metrics in needs.items():
            if metrics and getattr(self, part) is None:
                raise ValueError(f"{', '.join(metrics)} in rules needs the key `{part}`")
        return self

    @property
    def digest(self) -> str:
        """Changes when anything that can move a score changes."""
        unset = set() if self.slices else {"slices"}  # what was scored before there were such conventions
        return value_digest(self.model_dump(mode="json", exclude={"title", "source", "notes", "beside"} | unset))

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """All label metrics of this convention; the instance metrics where it has no others."""
        return tuple(m for m in self.rules if m not in INSTANCE_METRICS) or tuple(self.rules)

    def rule(self, metric: str) -> EmptyRule:
        """The rule of a metric; raises InputError where the convention does not define it."""
        if metric not in self.rules:
            raise InputError(
                f"Convention {self.name} does not define {metric}",
                expected=f"one of {', '.join(self.rules)}",
                found=metric,
                remedy="choose one of its metrics, or another convention",
            )
        return self.rules[metric]

    def empty_value(self, metric: str, situation: Situation) -> float:
        """What a metric scores in an empty situation; NaN stands for "no value, left out of every mean"."""
        outcome: float | Literal["skip", "worst"] = getattr(self.rule(metric), situation)
        if outcome == "skip":
            return math.nan
        if outcome != "worst":
            return outcome
        worst = self.worst_distance if metric in DISTANCE_METRICS else 0.0
        assert worst is not None  # `_complete`
        return worst

    def plain_name(self, class_name: str) -> str:
        """Lower case, words joined by underscores, aliases resolved: `Right kidney` and `kidney_right` are one."""
        plain = re.sub(r"[^a-z0-9]+", "_", class_name.lower()).strip("_")
        return self.aliases.get(plain, plain)

    def tolerance(self, class_name: str, *, planar: bool) -> float:
        """Tolerance of a class for the normalised surface distance, in the unit of the spacing."""
        table = self.tolerances or Tolerances()
        fallback = table.images if planar and table.images is not None else table.default
        tolerance = table.classes.get(self.plain_name(class_name), fallback)
        if tolerance is None:
            raise InputError(
                f"Convention {self.name} has no tolerance for class {class_name}",
                expected=f"one of {', '.join(table.classes)}",
                found=class_name,
                remedy="rename the class in the labels file, or leave nsd out with --metrics",
            )
        return tolerance


def get_convention(name: str, *, file: Path = BUILT_IN) -> Convention:
    """The convention of that name; raises InputError that lists the known names."""
    known = load_conventions(file)
    if name not in known:
        raise InputError(
            f"Unknown scoring convention {name}{did_you_mean(name, known)}",
            where=file,
            expected=f"one of {', '.join(known)}",
            found=name,
        )
    return known[name]


def scored_conventions(name: str) -> dict[str, Convention]:
    """The conventions by which a protocol's runs are scored: its own, those that it wants beside it, and `canonical`,
    in which failure never helps."""
    own = get_convention(name)
    return {each: get_convention(each) for each in (name, *own.beside, CANONICAL)}


def convention_digests(name: str) -> dict[str, str]:
    """Digests of `scored_conventions`, by name."""
    return {each: convention.digest for each, convention in scored_conventions(name).items()}


@lru_cache(maxsize=8)
def load_conventions(file: Path = BUILT_IN) -> dict[str, Convention]:
    """Read and check a file of conventions.

    Raises:
        InputError: naming file, key and what is allowed there.
    """
    try:
        content = load_yaml(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError("The conventions file is not YAML", where=file, found=str(error)) from error
    if not isinstance(content, dict) or set(content) - {"aliases", "conventions"} or "conventions" not in content:
        raise InputError(
            "The conventions file has other keys than it may",
            where=file,
            expected="conventions, aliases",
            found=", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__,
        )
    aliases = content.get("aliases", {})
    if not (isinstance(content["conventions"], dict) and isinstance(aliases, dict)):
        raise InputError("The conventions file holds no tables", where=file, expected="conventions: {name: …}")
    return {name: _parse(name, body, aliases, file) for name, body in content["conventions"].items()}


def _parse(name: str, body: Any, aliases: dict[str, str], file: Path) -> Convention:
    if not isinstance(body, dict):
        raise InputError("A convention is a mapping of keys", where=f"{file}: conventions.{name}", found=repr(body))
    try:
        return Convention.model_validate({**body, "name": name, "aliases": aliases})
    except ValidationError as error:
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # a typo also lacks a key
        keys = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "literal[", "tuple["))]
        allowed = first["msg"]
        if first["type"] == "extra_forbidden":
            allowed = "one of " + ", ".join(_fields_at(first["loc"][:-1]))
        raise InputError(
            "The conventions file has an error",
            where=f"{file}: " + ".".join(["conventions", name, *keys]),
            expected=allowed,
            found=repr(first["input"])[:120],
            remedy="correct the key or value named above",
        ) from error


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the keys allowed at a place in the file."""
    model: type[BaseModel] = Convention
    parts: dict[str, type[BaseModel]] = {
        "rules": EmptyRule,
        "surface": Surface,
        "tolerances": Tolerances,
        "crop": Crop,
        "rounding": Rounding,
        "instances": Instances,
    }
    for key in location:
        model = parts.get(key, model)
    return [field for field in model.model_fields if field not in ("name", "aliases")]
