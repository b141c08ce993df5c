"""A file is the published one, the one seen first, or refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from benchmark.checksums import compare, record_of, remember, seen_before
from benchmark.errors import InputError

CONTENT = b"weights"
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", f"md5:{MD5}"])
@pytest.mark.parametrize("size", [None, 7])
def test_the_published_file(path, checksum, size):
    seen = compare(path, size=size, checksum=checksum)
    assert (seen.bytes, seen.sha256, seen.basis) == (7, SHA256, "published checksum")
    assert not record_of(path).exists()  # looking writes nothing


@pytest.mark.parametrize("facts", [{"size": 8}, {"checksum": "sha256:" + 64 * "0"}, {"checksum": "md5:" + 32 * "0"}])
def test_another_file_is_refused(path, facts):
    with pytest.raises(InputError, match="not the published one"):
        compare(path, **facts)


def test_what_nobody_published_is_remembered(path):
    first = compare(path)
    assert first.basis == "first sight"
    remember(path, first, url="https://a")
    kept = json.loads(record_of(path).read_text())
    assert kept == {"bytes": 7, "sha256": SHA256, "basis": "first sight", "url": "https://a"}
    assert seen_before(path) == kept and compare(path) == first
    path.write_bytes(b"changed")
    with pytest.raises(InputError, match="changed since it was first used"):
        compare(path)
    record_of(path).unlink()  # what the message says
    assert compare(path).sha256 == hashlib.sha256(b"changed").hexdigest()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"sha256": 3}'])
def test_a_damaged_record_is_named(path, content):
    record_of(path).write_text(content)
    with pytest.raises(InputError, match="record of a file's first sight is damaged"):
        compare(path)
