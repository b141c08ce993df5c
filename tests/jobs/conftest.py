"""Stand-ins for the commands of a cluster."""

from __future__ import annotations

import stat

import pytest


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a shell script in the place of a SLURM command."""

    def install(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return install
