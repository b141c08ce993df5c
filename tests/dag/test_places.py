"""Where things lie: folders with any name, another working directory, a clone that cannot be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.clone import SNAKEMAKE, environment, snakemake
from helpers.dry_run import REPOSITORY, make_clone
from helpers.workspace import TRIAL

from benchmark.data import phantoms
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.jobs.configuration import located, workflow_config
from benchmark.jobs.wiring import set_job_environment

ODD = 'it\'s "a" $HOME; `b` [x] (y) {z} & ü日'  # every kind of character that means something to a shell or a pattern
RULES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
PIECES_OF_COMMANDS = {"{resources.launch:u}"}  # words that the workflow itself writes
RUN = "faults/table/undisturbed/seed0"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_field_of_a_shell_line_is_quoted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^    shell:.*\n((?:        .*\n)+)", text, flags=re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^    (?:shell|run|script):", text, flags=re.MULTILINE))
    for block in blocks:
        assert not re.search(r'^\s+[rbu]*f"', block, flags=re.MULTILINE), f'{path.name}: Snakemake formats it, not f""'
        fields = set(re.findall(r"\{[^{}]*\}", block)) - PIECES_OF_COMMANDS
        assert {field for field in fields if not field.endswith(":q}")} == set(), path.name


def write_predictions(folder: Path, raw: Path, cases: list[str]) -> None:
    """Label maps equal to the references: 1 is the liver, 2 the upper lobe of the left lung."""
    for case in cases:
        parts = [
            nibabel.load(raw / case / f"segmentations/{name}.nii.gz") for name in ("liver", "lung_upper_lobe_left")
        ]
        labels = sum(number * np.asarray(part.dataobj).astype(np.uint8) for number, part in enumerate(parts, start=1))
        (folder / RUN).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels, parts[0].affine), folder / RUN / f"{case}.nii.gz")


def snakemake_with_readonly_clone(clone: Path, work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Started in `work`, on a clone that is mounted read-only where the system lets us."""
    command = [str(SNAKEMAKE), "--snakefile", str(clone / "Snakefile"), *words]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0:
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, str(clone), *command]
    variables = {**environment(clone), "XDG_CACHE_HOME": str(work / ".cache")}
    return subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True)


@pytest.mark.slow
def test_a_table_in_folders_of_any_name_beside_a_clone_that_cannot_be_written(tmp_path: Path) -> None:
    """Roots, paper_tables, predictions and clone each in an odd folder, some as seen from the working directory. In the
    middle, everything that is there is from tomorrow, as on a file server whose clock is ahead."""
    base = tmp_path / ODD
    clone, work, raw = make_clone(tmp_path / ODD.replace("{z}", "") / "clone"), base / "work", base / "raw"
    phantoms.write(phantoms.get_phantom("totalseg"), raw, subjects=4, spacing=20, processes=1)
    shutil.copytree(TRIAL, work / "{tables} 'x'")
    config = {"paper_tables": "{tables} 'x'", "roots": {"totalseg": str(raw)}, "start_from": "predictions"}
    config |= {"predictions": "./my $predictions 'y'/", "weights": "w {x}"}
    (work / "my $predictions 'y'").mkdir()
    (work / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (work / "yaml.py").write_text("raise SystemExit('somebody else\\'s module')", encoding="utf-8")

    def build(*targets: str) -> None:
        words = ["--cores", "1", "--configfile", "config.yaml", "--", *targets]
        done = snakemake_with_readonly_clone(clone, work, *words)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

    build("results/data/totalseg/split.json")
    split = read_json(work / "results/data/totalseg/split.json")
    write_predictions(work / "my $predictions 'y'", raw, split["test"])
    for path in (*base.rglob("*"), *work.rglob("*")):
        os.utime(path, (time.time() + 1e5, time.time() + 1e5))
    build("results/table_small.csv")
    table = pd.read_csv(work / "results/table_small.csv")
    assert table.set_index("row")["DSC (%)"]["U-Net"] == "100.00", table.to_string()
    assert Path(read_json(work / "results/data/totalseg/source.json")["root"]) == raw.resolve()


@pytest.mark.parametrize("profile", ["demo", "slurm"])
def test_from_another_working_directory_the_clone_s_own_files_are_found(tmp_path: Path, profile: str) -> None:
    clone, work = make_clone(tmp_path / "clone"), tmp_path / "elsewhere"
    work.mkdir()
    words = ["-n", "--profile", str(clone / profile), "--config", "targets=[table1_totalseg]"]
    done = snakemake(clone, *words, directory=work)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "train_run" in done.stdout + done.stderr
    assert not (work / "paper_tables").exists()


def test_a_folder_is_in_the_working_directory_or_beside_the_snakefile(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert located("paper_tables") == str(REPOSITORY / "paper_tables")
    assert located("./nowhere//x/") == "nowhere/x"  # to be made: where the results are
    assert located("~/data") == "/home/somebody/data"
    (tmp_path / "paper_tables").mkdir()
    assert located("paper_tables") == "paper_tables"
    assert located("/absolute") == "/absolute"


@pytest.mark.parametrize("name", ["predictions", "scores"])
def test_folders_where_snakemake_would_see_wildcards_are_refused(name: str) -> None:
    odd = ODD.replace("{z}", "")
    assert getattr(workflow_config({name: odd}), name) == odd
    with pytest.raises(InputError, match="braces") as error:
        workflow_config({name: "/data/{me}"})
    assert f"configuration: {name}" in str(error.value)


def test_jobs_import_this_package_whatever_the_working_directory_holds(tmp_path, monkeypatch) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/__init__.py").write_text("raise SystemExit('another clone')")
    for name, value in (("PATH", os.environ["PATH"]), ("PYTHONPATH", "/some/hooks"), ("PYTHONSAFEPATH", "")):
        monkeypatch.setenv(name, value)
    set_job_environment()
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(REPOSITORY), "/some/hooks"]
    command = ["python", "-m", "benchmark", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
