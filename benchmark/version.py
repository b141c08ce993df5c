"""Which code made a result: written into weights, checkpoints and scores."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from benchmark import __version__

REPOSITORY = Path(__file__).resolve().parents[1]


@cache
def code_version() -> str:
    """Package version and, in a git clone, the commit, with + if files were changed: "0.1.0 1a2b3c4d5e6f+"."""
    if not (REPOSITORY / ".git").exists():  # installed somewhere: a commit found further up would be of other code
        return __version__
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return f"{__version__} {commit}".strip()
