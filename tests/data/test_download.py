"""Downloads from a local server that misbehaves in every way that was thought of."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.data import download as module
from benchmark.data import fetch
from benchmark.data.download import alone_in, download, drive_address
from benchmark.data.source import load_source
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from tests.data.conftest import write_case, write_meta
from tests.data.web import CONTENT, Server


def fetched(server: Server, folder: Path, **changes) -> bytes:
    return download(server.archive(**changes), folder, pause=0).read_bytes()


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        ([], 1),
        (["cut"], 2),
        (["cut"] * 8, 9),  # most attempts gain, so few count as failures
        (["error 500", "error 500"], 3),
        (["shorter file"], 2),
        (["cut", "error 500", "cut", "ignore range"], 4),
        (["cut", "ignore range"], 2),
        (["wrong byte"], 2),
        (["longer file"], 2),
    ],
    ids=str,
)
def test_the_published_file_arrives(server, tmp_path, script, requests):
    server.script = list(script)
    assert fetched(server, tmp_path) == CONTENT
    assert len(server.ranges) == requests
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot write raw") as raised, alone_in(tmp_path / "taken/raw"):
        pass
    assert str(tmp_path / "taken") in str(raised.value)


def test_a_cut_line_is_resumed_where_it_broke(server, tmp_path):
    server.script = ["cut"]
    fetched(server, tmp_path)
    assert server.ranges == [None, "bytes=1441792-"]


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        ([], 1),
        (["cut"], 2),
        (["cut", "error 500", "cut", "ignore range"], 4),
        (["cut", "error 416"], 3),  # a server that has less than the beginning here
        (["no length"], 1),
        (["wrong byte"], 2),
        (["shorter file"], 2),
        (["longer file"], 2),
        (["error 408", "error 429"], 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_of_unknown_size_is_known_by_its_checksum(server, tmp_path, script, requests, algorithm):
    server.script = list(script)
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    assert fetched(server, tmp_path, bytes=None, hash=checksum) == CONTENT
    assert len(server.ranges) == requests
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_whole_partial_file_of_unknown_size_is_taken(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    assert fetched(server, tmp_path, bytes=None) == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_without_a_checksum_the_first_sight_counts(server, tmp_path):
    for _ in range(2):
        assert fetched(server, tmp_path, bytes=None, hash=None) == CONTENT
    seen = json.loads((tmp_path / "a.zip.seen.json").read_text())
    assert seen["sha256"] == hashlib.sha256(CONTENT).hexdigest() and seen["basis"] == "first sight"
    (tmp_path / "a.zip").write_bytes(b"another")
    with pytest.raises(InputError, match="changed since it was first used") as error:
        fetched(server, tmp_path, bytes=None, hash=None)
    assert "a.zip.seen.json" in str(error.value)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("what", ["page with a type", "page"])
def test_a_web_page_instead_of_the_file_is_said_at_once(server, tmp_path, what, size):
    server.script = ["cut", *[what] * 9]
    with pytest.raises(InputError, match="a web page instead of the file") as error:
        fetched(server, tmp_path, bytes=size, hash=None)
    assert len(server.ranges) == 2 and f"put the file at {tmp_path / 'a.zip'}" in str(error.value)
    assert not (tmp_path / "a.zip").exists()
    (tmp_path / "a.zip").write_bytes(CONTENT)  # by hand
    assert fetched(server, tmp_path) == CONTENT and len(server.ranges) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(server, tmp_path, status):
    server.script = [f"error {status}"] * 9
    with pytest.raises(InputError, match=f"download failed: {status}"):
        fetched(server, tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://drive.google.com/file/d/1a_B-9/view?usp=sharing",
        "https://drive.google.com/file/d/1a_B-9",
        "https://drive.google.com/uc?id=1a_B-9",
        "https://drive.google.com/uc?export=download&id=1a_B-9",
        "https://drive.google.com/open?id=1a_B-9",
    ],
)
def test_links_to_files_on_drive(url):
    assert drive_address(url) == "https://drive.usercontent.google.com/download?id=1a_B-9&export=download&confirm=t"


@pytest.mark.parametrize("url", ["https://drive.google.com/drive/folders/1a_B-9", "https://zenodo.org/records/1"])
def test_other_addresses_stay(url):
    assert drive_address(url) == url


def test_two_processes_do_not_fetch_into_one_folder_at_a_time(tmp_path):
    entered, order = threading.Event(), []

    def other():
        entered.set()
        with alone_in(tmp_path):
            order.append("other")

    thread = threading.Thread(target=other)
    with alone_in(tmp_path):
        thread.start()
        entered.wait()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_later_run_continues(server, tmp_path):
    server.script = ["cut", *["error 500"] * 5]
    with pytest.raises(InputError, match="run again: it continues") as error:
        fetched(server, tmp_path)
    assert "500" in str(error.value) and "1441792 bytes" in str(error.value)
    assert fetched(server, tmp_path) == CONTENT
    assert server.ranges[-1] == "bytes=1441792-"


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    fetched(server, tmp_path)
    fetched(server, tmp_path)
    assert len(server.ranges) == 1


def test_a_file_that_was_damaged_on_disk_is_fetched_again(server, tmp_path):
    fetched(server, tmp_path)
    (tmp_path / "a.zip").write_bytes(b"damaged")
    assert fetched(server, tmp_path) == CONTENT


@pytest.mark.parametrize("script", [["wrong byte"] * 2, ["longer file"] * 2])
def test_another_file_is_refused_after_a_second_attempt(server, tmp_path, script):
    server.script = list(script)
    with pytest.raises(InputError, match="not the published one"):
        fetched(server, tmp_path)
    assert len(server.ranges) == 2 and not list(tmp_path.iterdir())


def test_a_file_that_is_truncated_at_the_source_is_refused(server, tmp_path):
    server.script = ["shorter file"] * 20
    with pytest.raises(InputError, match="download failed"):
        fetched(server, tmp_path)
    assert not (tmp_path / "a.zip").exists()


def test_no_server(tmp_path, server):
    archive = server.archive(url="http://127.0.0.1:9/a.zip")
    with pytest.raises(InputError, match="download failed"):
        download(archive, tmp_path, pause=0)


def test_too_little_space_is_said_before_anything_is_sent(server, tmp_path):
    with pytest.raises(InputError, match="not enough disk space"):
        download(server.archive(bytes=10**18), tmp_path, pause=0)
    assert server.ranges == []


@pytest.mark.parametrize("top", ["", "Totalsegmentator_dataset_v201/"])
def test_fetch_downloads_unpacks_and_records(server, tmp_path, top):
    raw = tmp_path / "published"
    write_case(raw, "s0001")
    write_meta(raw, {"s0001": "train"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        for path in sorted(raw.rglob("*.*")):
            container.write(path, top + str(path.relative_to(raw)))
    server.content = buffer.getvalue()
    server.script = ["cut"]
    members = get_dataset("totalseg").archives[0].members
    dataset = replace(get_dataset("totalseg"), archives=(server.archive(members=members),))
    out = tmp_path / "results/source.json"
    fetch.use_download(dataset, out, pause=0)
    source = load_source(out, "totalseg")
    assert source["kind"] == "download" and source["cases"] == 1
    (case,) = dataset.find_cases(Path(source["root"]))
    assert len(case.labels) == 117 and dataset.load_image(case)[0].shape == (1, 14, 12, 10)
    requests = len(server.ranges)
    fetch.use_download(dataset, out, pause=0)
    assert len(server.ranges) == requests  # nothing is repeated


def test_a_data_set_of_several_archives_without_sizes(server, tmp_path):
    """NeurIPS CellSeg: two archives known by their checksums alone, side by side in one root."""
    dataset, buffers, archives = get_dataset("neurips_cellseg"), {}, []
    for archive in dataset.archives:
        part, buffer = archive.name.removesuffix(".zip"), io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as container:
            for name in ("images/cell_00001.png", "labels/cell_00001_label.tiff", "notes.txt"):
                container.writestr(f"{part}/{name}", part)
        buffers[archive.name] = buffer.getvalue()
        checksum = f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"
        archives.append(replace(archive, url=f"{server.url}/{archive.name}", hash=checksum))
    out = tmp_path / "source.json"
    with pytest.raises(InputError, match="not the published one"):  # the second is another file than the server has
        server.content = buffers["Training-labeled.zip"]
        fetch.use_download(replace(dataset, archives=tuple(archives)), out, pause=0)
    assert not out.exists()
    server.content, requests = buffers["Tuning.zip"], len(server.ranges)
    fetch.use_download(replace(dataset, archives=tuple(archives)), out, pause=0)
    assert len(server.ranges) == requests + 1  # the first archive is there and unpacked
    source = load_source(out, "neurips_cellseg")
    assert source["cases"] == 2 and source["archives"] == {archive.url: archive.hash for archive in archives}
    assert not list(Path(source["root"]).rglob("notes.txt"))


def test_an_archive_that_nobody_published_a_checksum_of(server, tmp_path):
    """AbdomenMRI: the checksum of first sight stands in source.json."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        for name in ("imagesTr/amos_0507_0000.nii.gz", "labelsTr/amos_0507.nii.gz"):
            container.writestr(f"Dataset702_AbdomenMR/{name}", gzip.compress(b"volume"))
    server.content = buffer.getvalue()
    (published,) = get_dataset("abdomen_mri").archives
    assert "drive.usercontent.google.com" in published.url and published.hash is None
    archive = replace(published, url=f"{server.url}/download")
    dataset, out = replace(get_dataset("abdomen_mri"), archives=(archive,)), tmp_path / "source.json"
    for _ in range(2):
        fetch.use_download(dataset, out, pause=0)
        checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
        assert load_source(out, "abdomen_mri")["archives"] == {archive.url: checksum}
    assert len(server.ranges) == 1


@pytest.mark.parametrize("fill", [False, True])
def test_a_missing_or_empty_root_is_refused(tmp_path, fill):
    root = tmp_path / "ts"
    if fill:
        root.mkdir()
    with pytest.raises(InputError, match=r"meta\.csv" if fill else "does not exist"):
        fetch.use_local(get_dataset("totalseg"), root, tmp_path / "source.json")
    assert not (tmp_path / "source.json").exists()


def test_a_root_without_cases_is_refused(tmp_path):
    write_meta(tmp_path, {})
    with pytest.raises(InputError, match="0 cases"):
        fetch.use_local(get_dataset("totalseg"), tmp_path, tmp_path / "out/source.json")


def test_the_pause_grows_and_is_bounded(server, tmp_path, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.script = ["error 500"] * 5
    with pytest.raises(InputError):
        download(server.archive(), tmp_path, pause=20.0)
    assert pauses == [40.0, 60.0, 60.0, 60.0]
