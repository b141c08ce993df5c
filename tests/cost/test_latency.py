"""`latency`: the measuring path on a CPU at a small size, its file, and what happens without a GPU."""

from __future__ import annotations

import csv

import pytest
import torch

from benchmark.cli import main
from benchmark.cost import latency
from benchmark.cost.latency import Latency, record
from benchmark.evidence.table import read_latencies

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
SMALL = ["--device", "cpu", "--scale", "demo", "--volume", "40", "33", "36", "--repeats", "3"]


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@without_gpu
def test_the_workflows_file_is_written_without_a_gpu_too(tmp_path):
    """A table on such a machine says why, instead of waiting for a file."""
    out = tmp_path / "latency" / "table1_totalseg.csv"
    assert main(["latency", "--target", "table1_totalseg", "--out", str(out)]) == 0
    lines = read(out)
    assert len(lines) == 12 and {line["note"] for line in lines} == {"not attempted (no GPU)"}
    assert not any(line["seconds"] for line in lines)
    assert main(["latency", "--target", "table2_experts", "--out", str(out)]) == 2


def test_a_table_takes_this_machines_times_over_those_kept_with_the_paper(tmp_path):
    run = "swin_smt/totalseg/unetr/seed0"
    for folder, seconds in (("kept", 30.0), ("results/latency", 20.0)):
        line = Latency("UNETR", run, seconds=seconds, machine=f"the GPU of {folder}")
        record(tmp_path / folder / "table1_totalseg.csv", line)
    files = ["kept/table1_totalseg.csv", "results/latency/table1_totalseg.csv"]
    assert read_latencies([tmp_path / file for file in files])[run] == (20.0, "the GPU of results/latency")
    results = ["--results", str(tmp_path / "results"), "--out-dir", str(tmp_path), "--scores"]
    assert main(["table", "table1_totalseg", *results]) == 0
    (line,) = [line for line in read(tmp_path / "table1_totalseg.compare.csv")
               if (line["row"], line["column"]) == ("UNETR", "Time (s)")]  # fmt: skip
    assert float(line["rebuilt"]) == 20 and line["verdict"] == "not comparable (measured on the GPU of results/latency)"


@without_gpu
def test_without_a_gpu_nothing_is_attempted(capsys):
    assert main(["latency", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Swin SMT (ours): not attempted (no GPU)" in lines
    assert all(line.endswith("not attempted (no GPU)") for line in lines)


def test_a_small_scan_on_the_cpu(tmp_path):
    out = tmp_path / "latency.csv"
    assert main(["latency", "unetr", *SMALL, "--window-batch", "2", "--out", str(out)]) == 0
    (line,) = read(out)
    assert (line["row"], line["run"]) == ("UNETR", "swin_smt/totalseg/unetr/seed0")
    assert 0 < float(line["fastest"]) <= float(line["seconds"]) <= float(line["slowest"])
    assert (line["volume"], line["repeats"], line["window_batch"]) == ("40x33x36", "3", "2")
    assert line["machine"].startswith("CPU") and torch.__version__ in line["software"] and line["date"]


def test_running_out_of_memory_is_a_note(tmp_path, monkeypatch):
    def exhaust(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(latency, "time_scans", exhaust)
    out = tmp_path / "latency.csv"
    assert main(["latency", "unetr", *SMALL, "--out", str(out)]) == 0
    assert (read(out)[0]["seconds"], read(out)[0]["note"]) == ("", "not attempted (out of device memory)")


def test_a_file_keeps_other_rows_and_measured_times(tmp_path):
    out = tmp_path / "latency.csv"
    record(out, Latency("A", "run/a", seconds=2.0))
    record(out, Latency("B", "run/b", seconds=3.0))
    record(out, Latency("A", "run/a", seconds=1.0))
    record(out, Latency("B", "run/b", note="not attempted (out of device memory)"))
    assert {line["run"]: line["seconds"] for line in read(out)} == {"run/a": "1.0", "run/b": "3.0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to measure"),
        (["no_such_model"], "no timed row has this model"),
        (["unetr", "--device", "cpu"], "not the paper's measurement"),
    ],
)
def test_bad_input(arguments, message, capsys):
    assert main(["latency", *arguments]) == 2
    assert message in capsys.readouterr().err
