"""What the measurements were made on."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The CPU's model name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
