"""Weights as their authors published them: where they are, how they are read, and what of them a network took.

`load_released` never executes what it reads (`checkpoint_files`) and never loads a part in silence. Sources are data:
`weights.yaml`. torch is imported inside the functions, because the catalog reads the registry of sources without it.

A network whose keys or shapes differ from the published ones has a method

    adapt_released(state: dict[str, Tensor]) -> dict[str, Tensor]

that maps the published state to its own: renamed keys, resized position tables, dropped entries that it does not keep.
Published buffers that it derives from the input at hand instead, such as attention masks, it names in `recomputed`, a
tuple of key patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import InputError, did_you_mean
from benchmark.files import load_yaml
from benchmark.models.checkpoint_files import read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

REGISTRY = Path(__file__).with_name("weights.yaml")
WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")  # DataParallel, torch.compile, Lightning modules
SHOWN = 8


@dataclass(frozen=True)
class WeightSource:
    """One published file of weights.

    Attributes:
        name: unique; a run's `initialisation` refers to it.
        network: registered network that loads it.
        url: page or file to download from, by hand where it is a drive.
        licence: of the weights, as far as stated.
        file: name under which `fetch_weights` looks for it.
        content: what it was trained on.
        options: options of `build` for which its shapes fit.
        partial: key patterns that it does not cover, or that depend on the class count (`allow_partial`).
        starts: other networks, or its own with more options, that begin from it: which patterns it lacks for each.
        sha256: of the file, where known.
        bytes: size of the file, where known.
        by_hand: the address is not that of the file itself, though it looks like it, e.g. of an archive around it.
    """

    name: str
    network: str
    url: str
    licence: str
    file: str
    content: str
    options: dict[str, Any] = field(default_factory=dict)
    partial: tuple[str, ...] = ()
    starts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: str | None = None
    bytes: int | None = None
    by_hand: bool = False

    @property
    def checksum(self) -> str | None:
        """In the form of `benchmark.checksums`; None where nobody published one."""
        return None if self.sha256 is None else f"sha256:{self.sha256}"

    def partial_for(self, network: str) -> tuple[str, ...]:
        """The key patterns in which the file and a registered network may differ."""
        return (*self.partial, *self.starts.get(network, ()))


@dataclass(frozen=True)
class LoadReport:
    """What `load_released` did, all in state-dict keys.

    Attributes:
        loaded: copied into the network.
        missing: in the network, not in the file; left as they were.
        unexpected: in the file, not in the network; ignored.
        reshaped: loaded after the network adapted the shape, as (key, shape in the file, shape in the network).
        mismatched: in both with shapes that cannot be brought together, same form; left as they were.
        recomputed: buffers in the file that the network computes itself: found equal, or named by it.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    recomputed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{len(keys)} {name}" for name, keys in asdict(self).items() if keys or name == "loaded")


@cache
def weight_sources() -> dict[str, WeightSource]:
    """All known sources by name."""
    entries = load_yaml(REGISTRY.read_text())
    sources = [WeightSource(**(entry | {"partial": tuple(entry.get("partial", ()))})) for entry in entries]
    named = {source.name: source for source in sources}
    if len(named) < len(sources):
        raise ValueError(f"{REGISTRY} names a source twice")
    return named


def weight_source(name: str) -> WeightSource:
    """The source of that name.

    Raises:
        InputError: there is none.
    """
    sources = weight_sources()
    if name not in sources:
        raise InputError(
            f"unknown weights {name!r}{did_you_mean(name, sources)}",
            where=REGISTRY,
            expected="a name of `list weights`",
        )
    return sources[name]


def load_released(model: nn.Module, checkpoint: str | Path, *, allow_partial: Sequence[str] = ()) -> LoadReport:
    """Copy published weights into `model`, in place.

    Args:
        model: a network from `benchmark.models.build`.
        checkpoint: .pth, .pt, .ckpt, .model (nnU-Net 1), .safetensors or .npz as published; nested dictionaries,
            `module.` prefixes and optimiser state beside the weights are seen through.
        allow_partial: patterns (fnmatch) of keys that may be missing, unexpected or of another shape, such as heads
            for another class count. Anything else that does not fit is an error and leaves `model` untouched.

    Raises:
        InputError: absent, damaged or unsafe file, or a fit that `allow_partial` does not excuse.
    """
    path = Path(checkpoint)
    name = getattr(model, "registered_name", None)
    _check_present(path, [source for source in weight_sources().values() if source.network == name])
    own = set(model.state_dict())
    published = _add_wrapper(_strip_wrappers(read_checkpoint(path), own), own)
    adapted = _adapt(model, published, path)
    report, usable = _compare(model, published, adapted)
    _refuse_partial(report, allow_partial, path)
    model.load_state_dict(usable, strict=False)
    return report


def _adapt(model: nn.Module, published: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(model, "adapt_released", None)
    if adapt is None:
        return published
    try:
        return adapt(published)
    except InputError as error:
        raise error.at(path) from error


def _strip_wrappers(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # one may sit inside another
        for prefix in WRAPPERS:
            if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in own):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _add_wrapper(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Where a network holds the published one whole, as its only part, its keys have that part's name before them."""
    parts = {key.partition(".")[0] for key in own}
    wrapped = {f"{part}.{key}": value for part in parts for key, value in state.items()} if len(parts) == 1 else {}
    return wrapped if own & wrapped.keys() and not own & state.keys() else state


def _compare(
    model: nn.Module, published: dict[str, Tensor], adapted: dict[str, Tensor]
) -> tuple[LoadReport, dict[str, Tensor]]:
    """Sort the keys; second value: what can be loaded."""
    own = model.state_dict()
    computed = {key: buffer for key, buffer in model.named_buffers() if key not in own}
    mismatched = {key for key, tensor in adapted.items() if key in own and tensor.shape != own[key].shape}
    usable = {key: tensor for key, tensor in adapted.items() if key in own and key not in mismatched}
    recomputed = {key for key, tensor in adapted.items() if key in computed and _equal(tensor, computed[key])}
    derived = getattr(model, "recomputed", ())
    recomputed |= {key for key in set(adapted) - set(own) if any(fnmatch(key, pattern) for pattern in derived)}

    found = {key: published.get(key, published.get(key.partition(".")[2])) for key in usable}  # or in a part's file
    before = {key: value for key, value in found.items() if value is not None}
    reshaped = {key for key, value in before.items() if value.shape != own[key].shape}
    return LoadReport(
        loaded=tuple(sorted(usable)),
        missing=tuple(sorted(set(own) - set(adapted))),
        unexpected=tuple(sorted(set(adapted) - set(own) - recomputed)),
        reshaped=_both_shapes(reshaped, before, own),
        mismatched=_both_shapes(mismatched, adapted, own),
        recomputed=tuple(sorted(recomputed)),
    ), usable


def _both_shapes(
    keys: Iterable[str], left: Mapping[str, Tensor], right: Mapping[str, Tensor]
) -> tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]:
    return tuple((key, tuple(left[key].shape), tuple(right[key].shape)) for key in sorted(keys))


def _equal(published: Tensor, computed: Tensor) -> bool:
    return published.shape == computed.shape and bool((published.to(computed) == computed).all())


def _refuse_partial(report: LoadReport, allowed: Sequence[str], path: Path) -> None:
    def excess(keys: Sequence[str]) -> list[str]:
        return [key for key in keys if not any(fnmatch(key, pattern) for pattern in allowed)]

    mismatched = {key: f"{key} {found} in the file, {wanted} here" for key, found, wanted in report.mismatched}
    wrong = {
        "missing": excess(report.missing),
        "unexpected": excess(report.unexpected),
        "of another shape": [mismatched[key] for key in excess(list(mismatched))],
    }
    if any(wrong.values()) or not report.loaded:
        found = "; ".join(f"{len(keys)} {kind}: {_shorten(keys)}" for kind, keys in wrong.items() if keys)
        raise InputError(
            "the checkpoint does not fit the network",
            where=path,
            found=f"{report}; {found}",
            remedy="build the network with the options of the checkpoint (weights.yaml), or name in allow_partial what "
            "may differ",
        )


def _shorten(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _check_present(path: Path, sources: Sequence[WeightSource]) -> None:
    if path.is_file():
        return
    places = "; ".join(f"{source.name} ({source.content}, {source.licence}): {source.url}" for source in sources)
    raise InputError(
        "the weights file does not exist",
        where=path,
        remedy=f"download {places} and put the file at {path}" if places else f"{REGISTRY.name} names no public source",
    )
