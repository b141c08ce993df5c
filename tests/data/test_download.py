"""Downloads from a local server that misbehaves in every way that was thought of."""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import download as module
from benchmark.data import fetch
from benchmark.data.download import download, unpack
from benchmark.data.source import load_source
from benchmark.datasets import get_dataset
from benchmark.datasets.base import Archive
from benchmark.errors import InputError
from tests.data.conftest import write_case, write_meta

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@dataclass
class Server:
    """What the next requests get: each entry of `script` serves one request, then it behaves."""

    content: bytes = CONTENT
    script: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def archive(self, name: str = "a.zip", **changes) -> Archive:
        digest = hashlib.md5(self.content).hexdigest()
        facts = Archive(f"{self.url}/{name}", name, len(self.content), f"md5:{digest}", 10 * len(self.content))
        return replace(facts, **changes)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            what = state.script.pop(0) if state.script else "serve"
            if what == "error 500":
                return self.send_error(500)
            body, start = state.content, 0
            if what == "shorter file":
                body = body[:-1000]
            if what == "longer file":
                body += b"more"
            if what == "wrong byte":
                body = body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]
            if asked and what != "ignore range":
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    return self.send_error(416)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            rest = body[start:]
            if what != "no length":
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: len(rest) // 2] if what == "cut" else rest)

        def log_message(self, *_):
            """Keep the tests quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()


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


@pytest.mark.parametrize(
    ("script", "requests"),
    [([], 1), (["no length"], 1), (["cut"], 2), (["cut", "error 500", "ignore range"], 3), (["shorter file"], 2)],
    ids=str,
)
def test_a_file_of_unknown_size_is_told_by_its_hash(server, tmp_path, script, requests):
    server.script = list(script)
    assert fetched(server, tmp_path, bytes=None) == CONTENT
    assert len(server.ranges) == requests


def test_what_an_earlier_run_fetched_whole_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    assert fetched(server, tmp_path, bytes=None) == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_cut_line_is_resumed_where_it_broke(server, tmp_path):
    server.script = ["cut"]
    fetched(server, tmp_path)
    assert server.ranges == [None, "bytes=1441792-"]


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


def zip_of(path: Path, members: dict[str, bytes], *, link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            container.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            container.writestr(entry, "/etc/passwd")
    return path


ARCHIVE = Archive("http://nowhere/a.zip", "a.zip", 1, "md5:0", 5000, ("*.txt",))


def test_only_wanted_members_are_unpacked(tmp_path):
    members = {"top/a.txt": b"1", "top/b.exe": b"2", "__MACOSX/a.txt": b"3", "c.txt": b"4"}
    path = zip_of(tmp_path / "a.zip", members)
    for _ in range(2):  # an unpacked folder of a run that was stopped is replaced
        assert unpack(path, ARCHIVE, tmp_path / "out") == 2
    names = sorted(str(found.relative_to(tmp_path / "out")) for found in (tmp_path / "out").rglob("*.*"))
    assert names == ["c.txt", "top/a.txt"] and (tmp_path / "out/top/a.txt").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("members", "link", "problem"),
    [
        ({"../evil.txt": b""}, None, "leaves the folder"),
        ({"a/../../evil.txt": b""}, None, "leaves the folder"),
        ({"/evil.txt": b""}, None, "leaves the folder"),
        ({"..\\evil.txt": b""}, None, "leaves the folder"),
        ({"C:/evil.txt": b""}, None, "leaves the folder"),
        ({"a.txt": b""}, "b.txt", "is a link"),
        ({"a.txt": bytes(7000)}, None, "more than it should"),
        ({"a.exe": b"1"}, None, "nothing that is wanted"),
    ],
)
def test_dangerous_archives_are_refused_whole(tmp_path, members, link, problem):
    path = zip_of(tmp_path / "a.zip", members, link=link)
    with pytest.raises(InputError, match=problem):
        unpack(path, ARCHIVE, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["a.zip"]


def test_a_damaged_archive_leaves_nothing(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.txt": np.random.default_rng(0).bytes(3000), "b.txt": b"2"})
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        unpack(path, ARCHIVE, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        unpack(path, ARCHIVE, tmp_path / "out")


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
