"""Which code made a result: written into weights, checkpoints and scores."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from benchmark import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
# Git refuses to look at a clone that somebody else owns (a container, a folder of the group), since that clone's own
# settings may start programs. Describing a commit needs none of them, and this code runs from that clone anyway.
TRUSTED = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
UNKNOWN = "unknown commit"


@cache
def code_version() -> str:
    """Package version and, in a git clone, the commit, with + if files were changed: "0.1.0 1a2b3c4d5e6f+".

    In a clone whose commit git cannot tell: "0.1.0 unknown commit".
    """
    if not (REPOSITORY / ".git").exists():  # installed somewhere: a commit found further up would be of other code
        return __version__
    described = ["describe", "--always", "--exclude=*", "--dirty=+", "--abbrev=12"]  # a commit, whatever tags there are
    command = ["git", *TRUSTED, "-C", str(REPOSITORY), *described]
    # a git that started this process, as in a hook, leaves names of its own repository behind
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return f"{__version__} {UNKNOWN}"
    return f"{__version__} {answer.stdout.strip() or UNKNOWN}"
