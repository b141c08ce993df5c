"""What was unpacked is read back to the end."""

from __future__ import annotations

import gzip

import pytest

from benchmark.data.integrity import check_unpacked
from benchmark.errors import InputError


def test_damaged_files_are_listed(tmp_path):
    for name in ("a/ct.nii.gz", "a/liver.nii.gz", "b/ct.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(bytes(range(256)) * 40))
    (tmp_path / "meta.csv").write_text("image_id;split\n")
    check_unpacked(tmp_path, processes=1)
    for name in ("a/ct.nii.gz", "b/ct.nii.gz"):
        content = bytearray((tmp_path / name).read_bytes())
        content[-6] ^= 1
        (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match="2 unpacked files are damaged") as caught:
        check_unpacked(tmp_path, processes=1)
    assert "a/ct.nii.gz" in str(caught.value) and "b/ct.nii.gz" in str(caught.value)
    assert "liver" not in str(caught.value)
