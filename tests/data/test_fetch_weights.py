"""Released weights: downloaded or by hand, published or seen first, and never run."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import cli
from benchmark.data import fetch_weights as module
from benchmark.data.fetch_weights import direct_address, fetch_weights
from benchmark.errors import InputError
from benchmark.models.released import WeightSource, weight_sources


def saved(**extra) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.arange(6.0)}, **extra}, stream)
    return stream.getvalue()


WEIGHTS = saved()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def register(monkeypatch):
    """Adds a source to the registry."""

    def add(url: str, name: str = "mine", **facts) -> WeightSource:
        facts = {"file": "mine.pth", "licence": "MIT", "content": "pictures", "network": "unetr"} | facts
        monkeypatch.setitem(weight_sources(), name, WeightSource(name=name, url=url, **facts))
        return weight_sources()[name]

    return add


def test_a_file_with_an_address_is_downloaded_checked_and_described(server, register, tmp_path):
    server.content, server.script = WEIGHTS, ["cut"]
    register(f"{server.url}/mine.pth", sha256=SHA256, bytes=len(WEIGHTS))
    folder, out = tmp_path / "weights", tmp_path / "results/mine.json"
    assert cli.main(["fetch-weights", "mine", "--folder", str(folder), "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == {
        "name": "mine",
        "path": str(folder / "mine.pth"),
        "bytes": len(WEIGHTS),
        "sha256": SHA256,
        "basis": "published checksum",
        "licence": "MIT",
        "url": f"{server.url}/mine.pth",
    }
    requests = len(server.ranges)
    found = fetch_weights("mine", folder)
    assert len(server.ranges) == requests and Path(found["path"]).read_bytes() == WEIGHTS


@pytest.mark.parametrize("by_hand", [False, True])
def test_without_a_published_checksum_the_first_sight_counts(server, register, tmp_path, by_hand):
    server.content = WEIGHTS
    register("https://drive.google.com/drive/folders/1" if by_hand else f"{server.url}/mine.pth")
    if by_hand:
        (tmp_path / "mine.pth").write_bytes(WEIGHTS)
    found = fetch_weights("mine", tmp_path)
    assert (found["sha256"], found["basis"]) == (SHA256, "first sight")
    seen = json.loads((tmp_path / "mine.pth.seen.json").read_text())
    assert seen["sha256"] == SHA256 and seen["readable"] and seen["tensors"] == 1
    (tmp_path / "mine.pth").write_bytes(saved(epoch=2))
    with pytest.raises(InputError, match="changed since it was first used") as error:
        fetch_weights("mine", tmp_path)
    assert "mine.pth.seen.json" in str(error.value)
    (tmp_path / "mine.pth.seen.json").unlink()  # as the message says
    assert fetch_weights("mine", tmp_path)["sha256"] != SHA256


@pytest.mark.parametrize("facts", [{"sha256": "0" * 64}, {"bytes": 7}])
def test_another_file_than_the_published_one_is_refused(register, tmp_path, facts):
    register("https://drive.google.com/drive/folders/1", **facts)
    (tmp_path / "mine.pth").write_bytes(WEIGHTS)
    with pytest.raises(InputError, match="not the published one"):
        fetch_weights("mine", tmp_path)
    assert not (tmp_path / "mine.pth.seen.json").exists()


@pytest.mark.parametrize(
    "name", [name for name, source in weight_sources().items() if direct_address(source) is None], ids=str
)
def test_a_missing_file_names_its_place_and_its_path(name, tmp_path):
    source = weight_sources()[name]
    with pytest.raises(InputError, match="by hand") as error:
        fetch_weights(name, tmp_path)
    for words in (source.url, source.licence, str(tmp_path / source.file)):
        assert words in str(error.value)


def test_a_drive_that_sends_a_page_is_said_with_the_path(server, register, tmp_path, monkeypatch):
    server.script = ["page with a type"]
    source = register("https://drive.google.com/file/d/1a")
    monkeypatch.setattr(module, "direct_address", lambda source: f"{server.url}/download")
    with pytest.raises(InputError, match="a web page instead of the file") as error:
        fetch_weights("mine", tmp_path)
    assert str(tmp_path / source.file) in str(error.value)


def test_unknown_weights_are_named():
    with pytest.raises(InputError, match="did you mean 'sam_vit_b'"):
        fetch_weights("sam_vitb", None)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (
            "stunet_l_totalseg",
            "https://drive.usercontent.google.com/download?id=1KA1eXWWf_xAoJg5KHYrxTmfiz7wxGhHS&export=download&confirm=t",
        ),
        ("sam_vit_b", "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"),
        ("vit_r50_b16_imagenet21k", "https://storage.googleapis.com/vit_models/imagenet21k/R50+ViT-B_16.npz"),
        ("medsam_vit_b", None),  # a folder
        ("universal_model_swinunetr", None),  # a page
        ("med3d_23datasets", None),  # an archive around the file
    ],
)
def test_which_addresses_send_the_file(name, address):
    assert direct_address(weight_sources()[name]) == address


def test_published_checksums_are_well_formed():
    published = [source for source in weight_sources().values() if source.checksum]
    assert {"sam_vit_b", "sam_vit_h", "vmamba_tiny_imagenet"} <= {source.name for source in published}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", source.checksum) for source in published)
    by_file: dict[str, set] = {}
    for source in weight_sources().values():
        by_file.setdefault(source.file, set()).add((source.url, source.checksum, source.bytes))
    assert all(len(facts) == 1 for facts in by_file.values()), "names of one file differ in what it is"


OPTIMISER = """
import torch
class Optimiser:
    def __init__(self): self.rate = 0.1
"""


def test_a_file_with_an_optimiser_is_refused_and_the_remedy_works(register, tmp_path, monkeypatch):
    (tmp_path / "their_code.py").write_text(OPTIMISER)
    monkeypatch.syspath_prepend(tmp_path)
    from their_code import Optimiser

    path = tmp_path / "mine.pth"
    path.write_bytes(saved(optimiser=Optimiser()))
    register("https://drive.google.com/drive/folders/1")
    for _ in range(2):
        with pytest.raises(InputError, match="more than weights") as error:
            fetch_weights("mine", tmp_path)
    assert "their_code.Optimiser" in str(error.value) and not (tmp_path / "mine.pth.seen.json").exists()
    (command,) = re.findall(r'python -c "(.*)"', str(error.value))
    subprocess.run([sys.executable, "-c", command], check=True, cwd=tmp_path)
    assert fetch_weights("mine", tmp_path)["basis"] == "first sight"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("mine.pth", b"<!DOCTYPE html><title>Drive</title>"),
        ("mine.pth", WEIGHTS[: len(WEIGHTS) // 2]),
        ("mine.npz", b"PK cut"),
        ("mine.npz", b""),
        ("mine.safetensors", b"\x00" * 30),
    ],
)
def test_a_damaged_file_is_refused_and_not_remembered(register, tmp_path, file, content):
    register("https://drive.google.com/drive/folders/1", file=file)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|a web page"):
        fetch_weights("mine", tmp_path)
    assert not (tmp_path / f"{file}.seen.json").exists()


def test_other_forms_are_read(register, tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a.weight": np.arange(6.0)}
    np.savez(tmp_path / "mine.npz", **arrays)
    save_file(arrays, tmp_path / "mine.safetensors")
    for file in ("mine.npz", "mine.safetensors"):
        register("https://drive.google.com/drive/folders/1", file=file)
        assert fetch_weights("mine", tmp_path)["basis"] == "first sight"


def test_a_folder_that_cannot_be_written_is_enough(register, tmp_path, monkeypatch):
    register("https://drive.google.com/drive/folders/1")
    (tmp_path / "mine.pth").write_bytes(WEIGHTS)
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    assert fetch_weights("mine", tmp_path)["sha256"] == SHA256
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pth"]


def test_torch_is_imported_for_a_first_sight_alone(tmp_path):
    (tmp_path / "swin_umamba.pth").write_bytes(WEIGHTS)
    code = (
        "import sys; from benchmark.cli import main;"
        "code = main(['fetch-weights', 'swin_umamba_paper',"
        f"'--folder', '{tmp_path}', '--out', '{tmp_path}/out.json']);"
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    codes = [subprocess.run([sys.executable, "-c", code], check=False).returncode for _ in range(2)]
    assert codes == [10, 0]


def test_the_list_shows_size_licence_and_presence(tmp_path, capsys):
    (tmp_path / "samus.pth").write_bytes(bytes(3_000_000))
    assert cli.main(["list", "weights", "--weights", str(tmp_path)]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert set(lines) == set(weight_sources())
    assert "3 MB" in lines["samus_ultrasound"] and "yes" in lines["samus_ultrasound"]
    assert "375 MB" in lines["sam_vit_b"] and "Apache-2.0" in lines["sam_vit_b"] and "no" in lines["sam_vit_b"].split()
    assert "unknown" in lines["medsam_vit_b"] and "published" in lines["sam_vit_h"]
