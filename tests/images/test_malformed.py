"""Thousands of malformed files: every reader refuses them by name, or reads them right; nothing else comes out."""

from __future__ import annotations

import warnings

import pytest

from tests.images.malformed import attempt, formats


@pytest.mark.parametrize("name", list(formats()))
def test_malformed_files_are_refused_by_name(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow and numpy warn of what is about to be refused
        counts = attempt(name, tmp_path, seed=list(formats()).index(name))
    assert counts.total() > 60
    assert counts["refused"] > 0.4 * counts.total()
