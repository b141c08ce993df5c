"""A results folder with its page, built once for the tests that read it and for those that look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.page_results import write_page, write_results

from benchmark.cli import main


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("page") / "results")
    for command in ("coverage", "audit", "budget"):
        assert main([command, "--results", str(folder)]) == 0
    write_page(folder)
    return folder
