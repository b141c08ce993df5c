"""Several folders of predictions at once: ranks, paired differences, conventions, tables, plot, against scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.label_files import write
from scipy import stats

from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.inputs import method_names

METHODS = {"good": 0.02, "fair": 0.15, "poor": 0.4}
CASES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six cases of two classes, and three methods that lose more and more of their voxels; `poor` lacks a case."""
    root, random = tmp_path_factory.mktemp("methods"), np.random.default_rng(0)
    for number in range(CASES):
        reference = np.zeros((12, 12, 8), np.uint8)
        reference[1:6, 1 : 5 + number % 3, 1:6] = 1
        reference[7:11, 6:11, 2:7] = 2
        write(root / "labels" / f"c{number}.nii.gz", reference)
        for method, lost in METHODS.items():
            if (method, number) != ("poor", 5):
                kept = np.where(random.random(reference.shape) < lost, 0, reference).astype(np.uint8)
                write(root / method / f"c{number}.nii.gz", kept)
    content = {"labels": {"background": 0, "liver": 1, "spleen": 2}, "channel_names": {"0": "CT"}}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def score(folder, *options, methods=METHODS):
    predictions = [str(folder / method) for method in methods]
    return main(["score", "--reference", str(folder / "labels"), "--prediction", *predictions, *options])


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def case_means(folder, method, convention="canonical"):
    frame = read_scores(folder / "all.parquet", metric="dsc", convention=convention)
    return frame[frame["run"] == method].groupby("case")["value"].mean()


def test_ranks_and_paired_differences(folder, capsys):
    """Names from the dataset.json beside the references; ranks and intervals as scipy gives them."""
    out = folder / "all.parquet"
    assert score(folder, "--convention", "canonical", "--metrics", "dsc", "--out", str(out), "--processes", "1") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "dsc under canonical, ranks over 6 common cases"
    rows = {cells(line)[0]: cells(line) for line in printed[4:]}
    assert list(rows) == list(METHODS) and [rows[name][3] for name in METHODS] == ["1.00", "2.00", "3.00"]
    values = {name: case_means(folder, name) for name in METHODS}
    assert values["poor"]["c5"] == 0 and rows["poor"][2] == "6"  # a missing prediction is the worst there is
    for name in ("fair", "poor"):
        difference = (values[name] - values["good"]).to_numpy()
        interval = stats.ttest_rel(values[name], values["good"]).confidence_interval(0.95)
        assert rows[name][4:] == [f"{difference.mean():+.4f}", f"{interval.low:+.4f} to {interval.high:+.4f}", "6"]


def test_how_far_conventions_move_each_method(folder, capsys):
    """`nnunet` leaves a case without a prediction out of the mean, `canonical` counts it as the worst."""
    assert score(folder, "--convention", "all", "--metrics", "dsc", "--processes", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[0]) == ["dsc by convention", *METHODS]
    rows = {cells(line)[0]: cells(line)[1:] for line in lines[2:]}
    assert rows["canonical"][0].endswith("(1)") and rows["canonical"][2].endswith("(3)")
    moved = [float(cell) for cell in rows["**largest − smallest**"]]
    means = {name: [float(row[k].split()[0]) for row in list(rows.values())[:-1] if row[k] != "-"] for k, name in
             enumerate(METHODS)}  # fmt: skip
    assert moved == [pytest.approx(max(column) - min(column), abs=1.1e-4) for column in means.values()]
    assert moved[2] > 0.05 > moved[0]


def test_tables_per_case_and_per_class_and_a_plot(folder, capsys):
    plot = folder / "boxes.svg"
    options = ("--metrics", "dsc", "hd95", "--per-case", "--per-class", "--plot", str(plot), "--processes", "1")
    assert score(folder, "--convention", "canonical", *options) == 0
    tables = capsys.readouterr().out.split("\n\n")
    (by_case,) = [table for table in tables if table.startswith("| dsc, canonical") and "c0" in table]
    (by_class,) = [table for table in tables if table.startswith("| dsc, canonical") and "liver" in table]
    assert [cells(line)[0] for line in by_case.splitlines()[2:]] == [f"c{number}" for number in range(CASES)]
    assert [cells(line)[0] for line in by_class.splitlines()[2:]] == ["liver", "spleen"]
    assert cells(by_case.splitlines()[-1])[3] == "0.0000"
    text = plot.read_text(encoding="utf-8")
    assert text.lstrip().startswith("<?xml") and "hd95, canonical" in text


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_one_file_for_all_methods(folder, ending):
    out = folder / f"scores.{ending}"
    assert score(folder, "--convention", "nnunet", "--metrics", "dsc", "--out", str(out), "--processes", "1") == 0
    if ending == "json":
        runs = [row["run"] for row in json.loads(out.read_text())]
    elif ending == "csv":
        runs = [line.split(",")[0].strip('"') for line in out.read_text().splitlines()[1:]]
    else:
        runs = read_scores(out)["run"].tolist()
    assert list(dict.fromkeys(runs)) == list(METHODS) and len(runs) == 3 * CASES * 2


def test_names_of_methods(tmp_path):
    assert method_names([tmp_path / "a", tmp_path / "b"], None) == ["a", "b"]
    assert method_names([tmp_path / "x/labels", tmp_path / "y/labels"], None) == ["x/labels", "y/labels"]
    assert method_names([tmp_path / "a"], ["ours"]) == ["ours"]
    for folders, given in (([tmp_path / "a", tmp_path / "a"], None), ([tmp_path / "a"], ["x", "y"])):
        with pytest.raises(InputError, match="a name of its own"):
            method_names(folders, given)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plot", "boxes.txt"), "box plots are drawn in other formats"),
        (("--labels", "nowhere.json"), "nowhere.json"),
        (("--run", "one", "two"), "a name of its own"),
    ],
)
def test_wrong_options_are_refused_before_any_work(folder, capsys, options, said):
    assert score(folder, "--convention", "canonical", *options) == 2
    assert said in capsys.readouterr().err


def test_labels_have_to_come_from_somewhere(folder, tmp_path, capsys):
    for path in (folder / "labels").iterdir():
        (tmp_path / "maps").mkdir(exist_ok=True)
        (tmp_path / "maps" / path.name).write_bytes(path.read_bytes())
    maps = str(tmp_path / "maps")
    assert main(["score", "--reference", maps, "--prediction", maps, "--convention", "canonical"]) == 2
    assert "the names of the classes are not known" in capsys.readouterr().err
