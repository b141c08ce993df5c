"""DiNTS: the architecture of the released file, cell by cell."""

from __future__ import annotations

import re

import pytest

from benchmark.models.dints import ARCHITECTURE


@pytest.mark.parity
def test_the_architecture_is_that_of_the_released_file(reference):
    """As read from its repository: 97 cells, and the three rows whose skips no key of a state dict tells of."""
    facts = reference("models/README_3d.md").read_text().split("**DiNTS, correction.**")[1]
    rows = re.findall(r"(\d+) `([\d.]{10})`", facts)
    assert len(rows) == 3
    assert all(ARCHITECTURE[int(number)] == row for number, row in rows)
    assert sum(code != "." for row in ARCHITECTURE for code in row) == 97
