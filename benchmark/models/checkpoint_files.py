"""Reading checkpoint files of others: tensors only, nothing in them is ever run.

`weights_only=True`, safetensors, npz without pickles. torch is imported inside the functions: the registry of released
weights is read without it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

NESTS = (
    "state_dict",
    "model_state_dict",
    "network_weights",
    "net",
    "model",
    "network",
)  # where checkpoints keep weights
CONVERT = (
    "if you trust its authors, keep the tensors alone: where {culprit} can be imported, outside this program, run\n"
    "python -c \"import torch; f = '{file}'; d = torch.load(f, map_location='cpu', weights_only=False); "
    'torch.save(next((d[k] for k in {nests} if k in d), d), f)"'
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint file, wherever it is nested; entries that are no tensors are dropped.

    Raises:
        InputError: the file is damaged, needs unpickling of code, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    state = _find_state(_read_torch(path))
    if not state:
        raise InputError("the checkpoint holds no tensors", where=path, expected=f"a state dict, or one under {NESTS}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError("the checkpoint cannot be read", where=path, found=repr(error)[:200], remedy="download it again")


def _read_torch(path: Path) -> Any:
    import pickle

    import torch

    with path.open("rb") as stream:
        if stream.read(64).lstrip().startswith((b"<!", b"<html", b"<HTML")):
            raise InputError("a web page, not a checkpoint", where=path, remedy="download it in a browser, by hand")
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            # Mapped, not read: the check of a file of 2.5 GB needs no memory for it.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        forbidden = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if forbidden and isinstance(error, pickle.UnpicklingError):
            raise InputError(
                "the checkpoint holds more than weights, and reading it could run code",
                where=path,
                found=forbidden[1],
                remedy=CONVERT.format(culprit=forbidden[1], file=path, nests=NESTS),
            ) from error
        raise _unreadable(path, error) from error


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
