"""Checkpoints: whole or absent, verified before the one before is given up, refused for another configuration.

A checkpoint is `step-<n>.pt` and, written after it was read back and its checksum confirmed, `step-<n>.json`, which
names configuration, data, code version and the checksum. Without its json a checkpoint does not exist. The last two
are kept. Tensors are loaded with weights_only=True; nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors.torch import save_file

from benchmark import lineage
from benchmark.errors import InputError, PassingFault
from benchmark.files import atomic_path, file_digest, read_json, write_json
from benchmark.lineage import Made
from benchmark.progress import say

KEPT = 2
# A user may keep files and folders of his own beside them, and NFS leaves `.nfs…` behind: only these names are ours.
RECORD = re.compile(r"step-(\d{8})\.json")
OURS = re.compile(r"step-\d{8}\.(?:pt|json)|\.tmp-[^-]+-step-\d{8}\.(?:pt|json)")
# what belongs to a training beside its record, and is set aside with it
PARTS = (
    "checkpoints",
    "log.csv",
    "validation.csv",
    "selection.csv",
    "tensorboard",
    "final.safetensors",
    "trained.json",
)


def set_aside(folder: Path, made: Made, *, forced: bool) -> None:
    """Move an earlier training in `folder` to `earlier/`, if it was made of something else, or if that is asked for.

    Its progress and its last finished result stay whole there; a training made of `made` then begins or continues.
    """
    found = Checkpoints(folder / "checkpoints", identity=made, details={}).newest_identity()
    if found is None or (found == json.loads(json.dumps(made)) and not forced):
        return
    name = lineage.digest_of(found)
    target = folder / "earlier" / name
    number = 1
    while target.exists():
        number += 1
        target = folder / "earlier" / f"{name}-{number}"
    target.mkdir(parents=True)
    for part in PARTS:
        if (folder / part).exists():
            (folder / part).rename(target / part)
    why = lineage.difference(found, made) or "it was asked to be made anew"
    say(f"the training starts from the beginning ({why}); the earlier one is in {target}")


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: `<run directory>/checkpoints`.
        identity: what a checkpoint must share with this training to be continued, as {key: value}.
        details: recorded with each checkpoint, not compared (code version, digests).
    """

    def __init__(self, folder: str | Path, *, identity: dict[str, Any], details: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self.details = details

    def save(self, state: dict[str, Any], *, step: int) -> Path:
        """Write, verify, then remove all but the last two.

        Raises:
            InputError: the disk is full, or what was read back is not what was written. Older ones are untouched.
        """
        path = self.folder / f"step-{step:08d}.pt"
        versions = self.code_versions()
        with disk_full_explained(path, remedy=f"free space and run again: {self._last_words()}"):
            path.with_suffix(".json").unlink(missing_ok=True)
            with atomic_path(path) as temporary:
                digest = _write(state, temporary)
            if file_digest(path) != digest:
                path.unlink()
                raise InputError(
                    "a checkpoint read back differs from what was written",
                    where=path,
                    remedy=f"check this disk; then run again: {self._last_words()}",
                )
            record = {"step": step, "sha256": digest, "identity": self.identity, **self.details}
            write_json(path.with_suffix(".json"), {**record, "code_versions": versions})
        self._remove_old(keep=KEPT)
        return path

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint's state, on the CPU; None where training starts from the beginning.

        A corrupt checkpoint is passed over for the one before, and a line says so.

        Raises:
            InputError: the newest checkpoint belongs to another configuration, or all of them are corrupt.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.folder / f"step-{step:08d}.pt"
            try:
                record = read_json(path.with_suffix(".json"))
                if file_digest(path) != record["sha256"]:
                    raise ValueError("its checksum is wrong")
            except (OSError, ValueError, KeyError) as error:
                say(f"checkpoint {path} is corrupt ({error}); trying the one before")
                continue
            self._refuse_another(record["identity"], path)
            return _read(path)
        if steps:
            raise InputError(
                "every checkpoint of this run is corrupt",
                where=self.folder,
                remedy="delete the folder to train from the beginning",
            )
        return None

    def newest_identity(self) -> dict[str, Any] | None:
        """Of the newest checkpoint whose record can be read; None where there is none."""
        return self._newest_record().get("identity")

    def code_versions(self) -> list[str]:
        """Versions of the code that took part so far, each once: a training may go on under newer code."""
        earlier = self._newest_record()
        versions = [*earlier.get("code_versions", []), earlier.get("code_version"), self.details.get("code_version")]
        return list(dict.fromkeys(filter(None, versions)))

    def _newest_record(self) -> dict[str, Any]:
        for step in reversed(self.steps()):
            try:
                record = read_json(self.folder / f"step-{step:08d}.json")
            except (OSError, ValueError):
                continue
            if isinstance(record, dict):
                return record
        return {}

    def steps(self) -> list[int]:
        """Steps of the checkpoints that were finished, ascending."""
        found = (RECORD.fullmatch(path.name) for path in self.folder.glob("step-*.json"))
        return sorted(int(match[1]) for match in found if match)

    def keep_newest(self) -> None:
        """After training: one checkpoint suffices to make the final weights again."""
        self._remove_old(keep=1)

    def _remove_old(self, *, keep: int) -> None:
        kept = {f"step-{step:08d}" for step in self.steps()[-keep:]}
        # json first: a kill between the two leaves a checkpoint that does not count, never one without its tensors
        ours = (path for path in self.folder.glob("*") if OURS.fullmatch(path.name))
        for path in sorted(ours, key=lambda path: path.suffix != ".json"):
            if path.stem not in kept and path.is_file():
                path.unlink(missing_ok=True)

    def _refuse_another(self, found: dict[str, Any], path: Path) -> None:
        keys = sorted(key for key in {*found, *self.identity} if found.get(key) != self.identity.get(key))
        if keys:
            raise InputError(
                "the checkpoint belongs to another configuration",
                where=path,
                expected="; ".join(f"{key} = {self.identity.get(key)}" for key in keys),
                found="; ".join(f"{key} = {found.get(key)}" for key in keys),
                remedy="restore the setting, or delete the run's directory to train from the beginning",
            )

    def _last_words(self) -> str:
        steps = self.steps()
        return f"training continues from step {steps[-1]}" if steps else "training starts from the beginning"


class _HashingFile:
    """A binary file that digests what passes through and remembers why a write failed."""

    def __init__(self, path: Path) -> None:
        self.stream = path.open("wb")
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self.digest.update(data)
                return self.stream.write(data)
            except OSError as error:
                self.error = error  # raised through torch's C++ writer it would lose its kind
        return len(data)

    def flush(self) -> None:
        self.stream.flush()


def _write(state: dict[str, Any], path: Path) -> str:
    file = _HashingFile(path)
    try:
        torch.save(state, cast("IO[bytes]", file))  # of which it only writes and flushes
        if file.error is None:
            file.flush()
            os.fsync(file.stream.fileno())
            # drop the cached pages, so that reading back reads the disk
            os.posix_fadvise(file.stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        try:
            file.stream.close()
        except OSError as error:
            file.error = file.error or error
    if file.error is not None:
        raise file.error
    return file.digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            "the checkpoint has the right checksum but cannot be read by this torch",
            where=path,
            found=str(error),
            remedy="continue with the versions it was written with, or delete the run's directory",
        ) from error


@contextmanager
def disk_full_explained(path: Path, *, remedy: str) -> Iterator[None]:
    """Turn "no space left" and "over quota" into a message; nothing that was whole before is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PassingFault(f"the disk is full: {error.strerror}", where=path, remedy=remedy) from error


def write_weights(path: str | Path, network: torch.nn.Module) -> None:
    """The network's state as safetensors. Shared tensors are written under each of their names."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
