"""What tests begin with, so that processes beside each other end together."""

from __future__ import annotations

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent


def test_every_group_that_begins_is_there() -> None:
    """A file that was renamed would run last, and alone; longest first."""
    seconds = yaml.safe_load((FOLDER / "seconds.yaml").read_text(encoding="utf-8"))
    named = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("test_*.py"))
    for name in seconds:
        assert (FOLDER / f"{name}.py").is_file() or (FOLDER / name).is_dir() or f'xdist_group("{name}")' in named, name
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
