"""Weights as their authors published them: where they are, how they are read, and what of them a network took.

`load_released` never executes what it reads (`weights_only=True`, safetensors, npz without pickles) and never loads a
part in silence. Sources are data: `weights.yaml`. torch is imported inside the functions, because the catalog reads
the registry of sources without it.

A network whose keys or shapes differ from the published ones has a method

    adapt_released(state: dict[str, Tensor]) -> dict[str, Tensor]

that maps the published state to its own: renamed keys, resized position tables, dropped entries that it does not keep.
Published buffers that it derives from the input at hand instead, such as attention masks, it names in `recomputed`, a
tuple of key patterns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmark.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

REGISTRY = Path(__file__).with_name("weights.yaml")
NESTS = (
    "state_dict",
    "model_state_dict",
    "network_weights",
    "net",
    "model",
    "network",
)  # where checkpoints keep weights
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
        file: name under which `find_weights` looks for it.
        content: what it was trained on.
        options: options of `build` for which its shapes fit.
        partial: key patterns that it does not cover, or that depend on the class count (`allow_partial`).
        starts: other networks, or its own with more options, that begin from it: which patterns it lacks for each.
        sha256: of the file, where known.
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
    entries = yaml.safe_load(REGISTRY.read_text())
    sources = [WeightSource(**(entry | {"partial": tuple(entry.get("partial", ()))})) for entry in entries]
    named = {source.name: source for source in sources}
    if len(named) < len(sources):
        raise ValueError(f"{REGISTRY} names a source twice")
    return named


def find_weights(name: str, folder: str | Path) -> Path:
    """The downloaded file of source `name` in `folder`, its checksum compared where one is known.

    Raises:
        InputError: unknown name, absent file (the message says where to get it), or wrong checksum.
    """
    if name not in weight_sources():
        raise InputError(f"unknown weights {name!r}", where=REGISTRY, expected="one of " + ", ".join(weight_sources()))
    source = weight_sources()[name]
    path = Path(folder) / source.file
    _check_present(path, [source])
    if source.sha256:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != source.sha256:
            raise InputError("the file is not the published one", where=path, expected=source.sha256, found=found)
    return path


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
    if not hasattr(model, "adapt_released"):
        return published
    try:
        return model.adapt_released(published)
    except InputError as error:
        details = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        raise InputError(error.problem, where=error.where or path, **details) from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint file, wherever it is nested; entries that are no tensors are dropped.

    Raises:
        InputError: the file is damaged, needs unpickling of code, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    state = _find_state(_read_torch(path))
    if not state:
        raise InputError("the checkpoint holds no tensors", where=path, expected=f"a state dict, or one under {NESTS}")
    return state


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def _read_torch(path: Path) -> Any:
    import pickle

    import torch

    with path.open("rb") as stream:
        if stream.read(64).lstrip().startswith((b"<!", b"<html", b"<HTML")):
            raise InputError("a web page, not a checkpoint", where=path, remedy="download it in a browser, by hand")
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        forbidden = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if forbidden and isinstance(error, pickle.UnpicklingError):
            raise InputError(
                "the checkpoint holds more than weights, and reading it could run code",
                where=path,
                found=forbidden[1],
                remedy="where you trust it, save its state dict alone with torch.save, outside this program",
            ) from error
        raise InputError(
            "the checkpoint cannot be read", where=path, found=repr(error)[:200], remedy="download it again"
        ) from error


def _harmless_globals() -> list[Any]:
    """numpy scalars (losses, under the names of numpy 1 and 2) and parsed arguments: often kept beside weights."""
    import argparse

    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")}
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, np.dtype, *dtypes, *((scalar, name) for name in names)]


def _find_state(content: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping):
        return {}
    for nest in NESTS:
        if isinstance(content.get(nest), Mapping) and (state := _find_state(content[nest])):
            return state
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


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

    def both_shapes(keys: set[str], left: dict[str, Tensor], right: dict[str, Tensor]):
        return tuple((key, tuple(left[key].shape), tuple(right[key].shape)) for key in sorted(keys))

    before = {key: published.get(key, published.get(key.partition(".")[2])) for key in usable}  # or in a part's file
    reshaped = {key for key, value in before.items() if value is not None and value.shape != own[key].shape}
    return LoadReport(
        loaded=tuple(sorted(usable)),
        missing=tuple(sorted(set(own) - set(adapted))),
        unexpected=tuple(sorted(set(adapted) - set(own) - recomputed)),
        reshaped=both_shapes(reshaped, before, own),
        mismatched=both_shapes(mismatched, adapted, own),
        recomputed=tuple(sorted(recomputed)),
    ), usable


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
        remedy=f"download {places}" if places else f"no public source is listed in {REGISTRY.name}",
    )
