"""Reading label maps, pairing folders, and the command that scores them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.label_files import run, write

from benchmark.errors import InputError
from benchmark.images.label_names import read_labels_file
from benchmark.scoring import score
from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.images import find_cases, read_labels
from benchmark.scoring.kernels import compiled
from benchmark.scoring.pairs import pair_cases
from benchmark.version import code_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five volumes; the prediction of case2 is missing, case3 misses a class, case4 has one too much."""
    random = np.random.default_rng(0)
    for number in range(5):
        reference = np.zeros((8, 9, 10), np.uint8)
        reference[1:5, 1:5, 1:5] = 1
        reference[5:7, 5:8, 2 : 6 + number % 2] = 2
        if number == 4:
            reference[reference == 2] = 0
        prediction = np.where(random.random(reference.shape) < 0.1, 0, reference).astype(np.uint8)
        if number == 3:
            prediction[prediction == 2] = 0
        if number == 4:
            prediction[0, 0, 0] = 2
        write(tmp_path / "reference" / f"case{number}.nii.gz", reference)
        if number != 2:
            write(tmp_path / "prediction" / f"case{number}.nii.gz", prediction)
    (tmp_path / "labels.json").write_text(json.dumps({"1": "liver", "2": "spleen"}))
    return tmp_path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".png", ".tiff", ".tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_maps_come_back_with_their_grid(tmp_path, suffix, kind):
    array = np.arange(12, dtype=kind).reshape(3, 4) * (1 if kind == np.uint8 else 20)
    labels = read_labels(write(tmp_path / f"case{suffix}", array))
    assert (labels.array == array).all()
    assert labels.array.flags.c_contiguous
    assert labels.geometry.spacing == ((1.0, 2.0) if "nii" in suffix else (1.0, 1.0))


def test_volumes_keep_their_axes_and_single_slices_become_images(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    labels = read_labels(write(tmp_path / "volume.nii.gz", array))
    assert (labels.array == array).all()
    assert labels.array.dtype == np.uint8
    assert labels.geometry.spacing == (1.0, 2.0, 3.0)
    assert read_labels(write(tmp_path / "slice.nii.gz", array[..., :1])).array.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.nii.gz", np.full((2, 2, 2), 0.5, np.float32), "integers from 0"),
        ("a.nii.gz", np.full((2, 2, 2), np.nan, np.float32), "integers from 0"),
        ("a.nii.gz", np.full((2, 2, 2), -1, np.int16), "integers from 0"),
        ("a.nii.gz", np.full((2, 2, 2), 4_000_000_000, np.uint32), "integers from 0 to 4194304"),
        ("a.nii.gz", np.zeros((3, 3, 3, 2), np.uint8), "not a label map"),
        ("a.nii.gz", np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "not an image"),
        ("a.nii.gz", np.zeros((0, 3, 3), np.uint8), "not an image"),
        ("a.png", np.zeros((4, 4, 3), np.uint8), "one channel"),
    ],
)
def test_other_images_are_refused(tmp_path, name, array, message):
    with pytest.raises(InputError, match=message):
        read_labels(write(tmp_path / name, array))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.png", "a.tiff"])
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(InputError, match=name):
        read_labels(tmp_path / name)


def test_a_truncated_volume_is_named(tmp_path):
    path = write(tmp_path / "a.nii", np.ones((9, 9, 9), np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError, match=r"a\.nii"):
        read_labels(path)


def test_case_ids(tmp_path):
    for name in ("b.nii.gz", "cell_1_label.tiff", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert list(find_cases(tmp_path)) == ["a", "b", "cell_1"]
    for name in ("a.jpg", "c.jpg"):  # a preview, and a label map that reading refuses
        (tmp_path / name).touch()
    assert list(find_cases(tmp_path)) == ["a", "b", "c", "cell_1"] and find_cases(tmp_path)["a"].suffix == ".png"
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match="one case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_cases(tmp_path / "absent")


@pytest.mark.parametrize(
    "text",
    [
        '{"1": "liver", "2": "spleen"}',
        '{"0": "background", "1": "liver", "2": "spleen"}',
        "1: liver\n2: spleen\n",
        '{"labels": {"background": 0, "liver": 1, "spleen": 2}, "numTraining": 3}',
        '{"labels": {"0": "background", "1": "liver", "2": "spleen"}}',
    ],
)
def test_label_files(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text)
    assert read_labels_file(path).names == {1: "liver", 2: "spleen"}


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "",
        '{"labels": {"whole": [1, 2]}}',
        '{"liver": "spleen"}',
        "{:",
        "{}",
        '{"0": "background"}',
        '{"1": "kidney", "2": "kidney"}',
    ],
)
def test_other_label_files_are_refused(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"labels\.json"):
        read_labels_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels_file(tmp_path / "absent.json")


def test_scores_of_two_folders(folder, capsys):
    out = folder / "scores.parquet"
    run(folder, "--convention", "canonical", "--metrics", "dsc", "hd95", "--out", str(out), "--run", "a/b/seed0")
    frame = read_scores(out)
    assert len(frame) == 5 * 2 * 2
    assert frame["case"].tolist() == sorted(frame["case"])
    assert set(frame["run"]) == {"a/b/seed0"}
    statuses = frame[frame["metric"] == "dsc"].set_index(["case", "class"])["status"]
    assert statuses["case2", "liver"] == "missing_prediction"
    assert (statuses["case3", "spleen"], statuses["case4", "spleen"]) == ("empty_prediction", "empty_reference")
    assert frame.loc[(frame["status"] != "ok") & (frame["metric"] == "dsc"), "value"].tolist() == [0.0] * 4
    metadata = pq.read_schema(out).metadata
    assert metadata[b"scoring_digest"] and metadata[b"code_version"].decode() == code_version()
    printed, told = capsys.readouterr()
    assert "none of 1 of 5 cases, which are scored as missing: case2\n" in told
    assert "20.00%" in printed  # one of five predictions is missing
    assert "14.29%" in printed  # one of seven structures is missed
    assert "100.00%" in printed  # the only absent spleen is predicted


def test_worker_processes_write_the_same_file(folder):
    files = []
    for processes in ("1", "2"):
        out = folder / f"{processes}.parquet"
        run(folder, "--convention", "nnunet", "--out", str(out), "--processes", processes)
        files.append(out.read_bytes())
    assert files[0] == files[1]


def test_all_conventions_are_compared(folder, capsys):
    run(folder, "--convention", "all", "--processes", "1")
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "| convention | dsc | nsd | hd95 |"
    table = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    assert set(table) >= {"canonical", "umamba_abdomen", "transunet", "totalsegmentator", "nnunet", "monai", "medpy"}
    assert (
        float(table["transunet"][0].split()[0]) > float(table["swin_smt"][0].split()[0]) > float(table["canonical"][0])
    )
    assert float(table["**largest − smallest**"][0]) > 0.1
    assert table["nnunet"][1:] == ["-", "-"]


def test_all_conventions_leave_out_what_does_not_apply(folder, capsys):
    (folder / "labels.json").write_text('{"1": "heart"}')
    run(folder, "--convention", "all", "--processes", "1", "--metrics", "dsc", "nsd")
    captured = capsys.readouterr()
    assert "umamba_abdomen without nsd" in captured.err
    assert "umamba_abdomen" in captured.out
    assert "label values that the labels file does not list counted as background: 2 (4 cases)" in captured.err
    with pytest.raises(InputError, match="No convention defines dice") as caught:
        run(folder, "--convention", "all", "--metrics", "dsc", "dice")
    assert {"dsc", "nsd", "f1"} < set(str(caught.value.expected).replace(",", "").split())
    with pytest.raises(InputError, match="Convention nnunet does not define nsd") as caught:
        run(folder, "--convention", "nnunet", "--metrics", "nsd")
    assert caught.value.where is None  # before any case is read


def test_a_case_that_a_convention_cannot_score_is_named(folder):
    """Volumes and images in one folder: only the first one's axes are known beforehand."""
    for part in ("reference", "prediction"):
        write(folder / part / "picture.png", np.ones((5, 6), np.uint8))
    with pytest.raises(InputError, match=r"3-dimensional") as caught:
        run(folder, "--convention", "totalsegmentator", "--processes", "1")
    assert Path(caught.value.where).name == "picture.png"


def test_predictions_on_another_grid_are_all_listed_before_scoring(folder):
    write(folder / "prediction" / "case0.nii.gz", np.zeros((8, 9, 11), np.uint8))
    write(folder / "prediction" / "case1.nii.gz", np.zeros((8, 9, 10), np.uint8), affine=np.eye(4))
    out = folder / "scores.parquet"
    with pytest.raises(InputError) as caught:
        run(folder, "--convention", "canonical", "--out", str(out))
    message = str(caught.value)
    assert "2 of 5 cases" in message
    assert "case0.nii.gz" in message and "(8, 9, 11)" in message
    assert "case1.nii.gz" in message and "affine" in message
    assert not out.exists()


def test_predictions_without_a_reference_are_named(folder, capsys):
    write(folder / "prediction" / "stranger.nii.gz", np.zeros((8, 9, 10), np.uint8))
    assert len(pair_cases(folder / "reference", folder / "prediction")) == 5
    assert "stranger" in capsys.readouterr().err
    with pytest.raises(InputError, match="no label maps"):
        pair_cases(folder, folder / "prediction")


def test_instances_from_files(tmp_path, capsys):
    reference = np.zeros((30, 30), np.uint16)
    reference[4:10, 4:10], reference[15:25, 15:25] = 300, 7
    write(tmp_path / "reference" / "cell_1_label.tiff", reference)
    write(tmp_path / "prediction" / "cell_1.png", (reference == 7).astype(np.uint8))
    (tmp_path / "labels.json").write_text('{"1": "interior", "2": "boundary"}')
    run(tmp_path, "--convention", "umamba_microscopy", "--out", str(tmp_path / "scores.parquet"))
    frame = read_scores(tmp_path / "scores.parquet").set_index("metric")
    assert frame["value"].to_dict() == {"f1": 0.6667, "precision": 1.0, "recall": 0.5}
    assert set(frame["class"]) == {"interior"}


def test_instance_maps_of_other_programs(tmp_path, capsys):
    """Three cells, of which one was found whole, one cut in two halves and one missed."""
    reference, prediction = np.zeros((2, 40, 40), np.uint16)
    reference[5:15, 5:15], reference[5:15, 20:30], reference[20:30, 5:15] = 7, 8, 9
    prediction[5:15, 5:15], prediction[5:10, 20:30], prediction[10:15, 20:30] = 40, 41, 42
    write(tmp_path / "reference/cell_1_label.tiff", reference)
    write(tmp_path / "prediction/cell_1.tiff", prediction)
    (tmp_path / "labels.json").write_text('{"1": "cell"}')
    found = {}
    for options in ((), ("--instance-maps",)):
        out = tmp_path / "scores.parquet"
        run(tmp_path, "--convention", "canonical", "--metrics", "f1", "--out", str(out), "--processes", "1", *options)
        frame = read_scores(out, metric="f1")
        found[options] = float(frame["value"].iloc[0]), "--instance-maps" in capsys.readouterr().err
    assert found[()] == (0.0, True)
    assert found["--instance-maps",] == (pytest.approx(2 * 2 / (3 + 3)), False)  # a half has an IoU of exactly 0.5


def test_scoring_imports_neither_torch_nor_monai():
    command = "import sys, benchmark.scoring.score, benchmark.scoring.controls as c; "
    command += "assert not {'torch', 'monai', 'snakemake'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True, cwd=Path(score.__file__).parents[2])


def test_compilation_works_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr("numba.core.caching.FunctionCache._impl_class._locator_classes", [])
    assert compiled(lambda x: x + 1)(1) == 2
