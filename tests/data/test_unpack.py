"""Archives that try everything that was thought of."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.unpack import unpack
from benchmark.datasets.base import Archive
from benchmark.errors import InputError


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
    members = {"top/a.txt": b"1", "top/b.exe": b"2", "__MACOSX/a.txt": b"3", "top/__MACOSX/a.txt": b"3", "c.txt": b"4"}
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


def test_without_a_declared_size_only_the_disk_is_the_limit(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.txt": bytes(7000)})
    assert unpack(path, replace(ARCHIVE, unpacked_bytes=None), tmp_path / "out") == 1
