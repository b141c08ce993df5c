"""Files are whole or absent, and a place that cannot be written is the reader's to correct."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.errors import EXIT_INPUT, InputError
from benchmark.files import atomic_path, make_folder, unwritable_explained, write_text


def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "note.txt"
    write_text(path, "old\n")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old\n" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "taken").write_text("a file\n")
    with pytest.raises(InputError, match=r"cannot write note\.txt") as caught:
        write_text(tmp_path / folder / "note.txt", "text")
    assert str(tmp_path / folder) in str(caught.value) and "what to do" in str(caught.value)
    assert (tmp_path / "taken").read_text() == "a file\n"


@pytest.mark.parametrize("folder", ["taken", "taken/below/it"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: str) -> None:
    make_folder(tmp_path / "free/below")
    make_folder(tmp_path / "free/below")
    assert (tmp_path / "free/below").is_dir()
    (tmp_path / "taken").write_text("a file\n")
    with pytest.raises(InputError, match=f"cannot write {Path(folder).name}") as caught:
        make_folder(tmp_path / folder)
    assert str((tmp_path / folder).parent) in str(caught.value)


def test_a_full_disk_is_not_taken_for_a_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), unwritable_explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("page", ["coverage", "audit", "budget"])
def test_unwritable_results_end_a_page_with_a_message(tmp_path: Path, page: str, capsys) -> None:
    (tmp_path / "results").write_text("a file\n")
    assert main([page, "--results", str(tmp_path / "results")]) == EXIT_INPUT
    told = "there is no results folder here" if page == "coverage" else f"cannot write {page}.csv"
    assert told in capsys.readouterr().err
