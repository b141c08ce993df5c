"""What `retable score` takes: two folders or two files, in any format, by place or by option."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from helpers.label_files import write

from benchmark.errors import InputError
from benchmark.scoring import score
from benchmark.scoring.controls import write_control
from benchmark.scoring.images import check_geometry, read_geometry, read_labels

VOLUMES = (".nii.gz", ".nii", ".mha", ".nrrd")
IDENTITY, FLIPPED = (1, 0, 0, 0, 1, 0, 0, 0, 1), (1, 0, 0, 0, -1, 0, 0, 0, -1)


def blobs(shift=0):
    """[z, y, x] with classes 1 and 2."""
    labels = np.zeros((9, 14, 12), np.uint8)
    labels[1:6, 2 + shift : 9 + shift, 2:8] = 1
    labels[5:8, 3:6, 7 + shift : 11] = 2
    return labels


def write_itk(path, labels, direction=IDENTITY, origin=(-31.5, 12.25, 400.0)):
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((0.7, 1.3, 5.0))
    image.SetOrigin(origin)
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def run(*arguments):
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.main(parser.parse_args([*map(str, arguments), "--processes", "1"]))


def scores(*arguments, out):
    run(*arguments, "--out", out)
    return pd.read_parquet(out)


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED])
def test_scores_do_not_depend_on_the_format(tmp_path, direction):
    found = {}
    for reference in VOLUMES:
        prediction = {".nii.gz": ".mha", ".mha": ".nii.gz"}.get(reference, reference)  # and endings may differ
        pair = write_itk(tmp_path / f"r{reference}", blobs(), direction), tmp_path / f"p{prediction}"
        write_itk(pair[1], blobs(1), direction)
        table = scores(*pair, out=tmp_path / "s.parquet")
        found[reference] = table.set_index(["class", "metric"])["value"]
        labels = read_labels(pair[0])
        assert np.array_equal(labels.array, blobs().transpose()) and labels.geometry.spacing[2] == 5.0
    first, *others = found.values()
    one, other = blobs() == 1, blobs(1) == 1
    assert first.loc[("1", "dsc")] == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
    assert all((same == first).all() for same in others) and len(first) > 10


@pytest.mark.parametrize("ending", VOLUMES)
def test_another_geometry_is_refused_in_every_format(tmp_path, ending):
    reference = read_geometry(write_itk(tmp_path / "r.nii.gz", blobs()))
    for number, change in enumerate(({"direction": FLIPPED}, {"origin": (-31.0, 12.25, 400.0)})):
        path = write_itk(tmp_path / f"{number}{ending}", blobs(), **change)
        with pytest.raises(InputError, match="another affine"):
            check_geometry(reference, read_geometry(path), where=path)


def test_folders_of_mixed_formats_pair_by_name(tmp_path, capsys):
    for number, (one, other) in enumerate(zip(VOLUMES, VOLUMES[::-1], strict=True)):
        write_itk(tmp_path / f"labelsTr/case{number}{one}", blobs())
        write_itk(tmp_path / f"mine/case{number}{other}", blobs(1))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 2}}))
    run(tmp_path / "labelsTr", tmp_path / "mine", "--metrics", "dsc")
    assert "4       2" in capsys.readouterr().out


def test_single_files_take_the_names_of_the_data_set_or_their_values(tmp_path, capsys):
    pair = write_itk(tmp_path / "data/labelsTr/a.mha", blobs()), write_itk(tmp_path / "other.nii.gz", blobs(1))
    assert set(scores(*pair, out=tmp_path / "s.parquet")["class"]) == {"1", "2"}
    assert "classes are the values of a.mha: 1, 2" in capsys.readouterr().err
    (tmp_path / "data/dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 2}}))
    table = scores(*pair, out=tmp_path / "s.parquet")
    assert set(table["class"]) == {"liver", "spleen"} and set(table["case"]) == {"a"} and set(table["run"]) == {"other"}


def test_several_files_are_compared_as_methods(tmp_path, capsys):
    reference = write_itk(tmp_path / "a.nrrd", blobs())
    predictions = [write_itk(tmp_path / name / "a.nii.gz", blobs(shift)) for name, shift in (("x", 1), ("y", 2))]
    run(reference, *predictions, "--metrics", "dsc")
    out = capsys.readouterr().out
    assert "| x/a " in out and "| y/a " in out and "difference from x/a" in out


def test_pictures_are_single_files_too(tmp_path, capsys):
    pair = [write(tmp_path / name, blobs(shift)[5]) for name, shift in (("a.png", 0), ("b.tif", 1))]
    run(*pair, "--metrics", "dsc", "hd95")
    assert "hd95" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.nii.gz", "folder"), r"a folder and a file cannot be paired[\s\S]*folder"),
        (("folder", "a.nii.gz"), r"a folder and a file cannot be paired[\s\S]*folder"),
        (("a.nii.gz", "b.nii.gz"), "no such file"),
        (("b.nii.gz", "a.nii.gz"), "no such file"),
        (("a.nii.gz", "notes.txt"), "no label map by its ending"),
        (("a.nii.gz",), "retable score REFERENCES PREDICTIONS"),
        ((), "retable score REFERENCES PREDICTIONS"),
        (("a.nii.gz", "a.nii.gz", "--reference", "a.nii.gz", "--prediction", "a.nii.gz"), "given twice"),
        (("empty.nii.gz", "a.nii.gz"), "the reference is empty"),
    ],
)
def test_what_cannot_be_paired_is_said(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    write_itk(tmp_path / "a.nii.gz", blobs())
    write_itk(tmp_path / "empty.nii.gz", np.zeros_like(blobs()))
    with pytest.raises(InputError, match=message):
        run(*arguments)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_controls_are_written_in_the_format_of_the_references(tmp_path, ending):
    reference = write_itk(tmp_path / f"r/a{ending}", blobs(), FLIPPED)
    write_control("oracle", references=[reference], out=tmp_path / "out", labels=(1, 2))
    found = read_labels(tmp_path / f"out/a{ending}")
    assert np.array_equal(found.array, blobs().transpose())
    assert np.array_equal(found.geometry.affine, read_labels(reference).geometry.affine)
