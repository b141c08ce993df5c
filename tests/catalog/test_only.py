"""What a job of one run reads: the paper of the run, and no library that it can do without."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from benchmark.catalog.catalog import DEFAULT_FOLDER, Catalog, load_catalog
from benchmark.errors import InputError
from benchmark.settings import Scale

CATALOG = load_catalog()


@pytest.mark.parametrize("paper", CATALOG.papers)
def test_a_run_is_the_same_from_its_paper_alone(paper):
    alone = Catalog(only=paper)
    assert list(alone.papers) == [paper]
    protocols = dict.fromkeys(run.split("/")[1] for target in CATALOG.targets.values() for run in CATALOG.runs(target))
    for scale in get_args(Scale):
        for protocol in protocols.keys() & CATALOG.papers[paper].protocols.keys():
            model = next(iter(CATALOG.papers[paper].models))
            run = f"{paper}/{protocol}/{model}/seed0"
            try:
                expected = CATALOG.run(run, scale)
            except InputError as error:  # not every network has what every protocol begins from
                with pytest.raises(InputError, match=error.problem.split(";")[0].split("(")[0]):
                    alone.run(run, scale)
            else:
                assert alone.run(run, scale) == expected
                assert alone.trainings(run, scale) == CATALOG.trainings(run, scale)


def test_what_is_wrong_in_another_paper_stops_no_job(tmp_path):
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))
    (folder / "m4oe/protocols.yaml").write_text("flare22: {extends: joint}\njoint: {extends: flare22}\n")
    assert Catalog(folder, only="swin_smt").run("swin_smt/totalseg/unetr/seed0").dataset == "totalseg"
    with pytest.raises(InputError, match="one deep"):
        Catalog(folder)


def test_a_paper_that_there_is_not_is_named_beside_all():
    with pytest.raises(InputError, match="unknown paper 'swin_smtt'; did you mean 'swin_smt'") as caught:
        load_catalog(only="swin_smtt").run("swin_smtt/totalseg/unetr/seed0")
    assert "m4oe" in str(caught.value)


def test_a_table_without_scores_needs_no_statistics_and_no_images(tmp_path):
    code = f"""if True:
        import sys
        from benchmark.cli import main
        assert main(["table", "table1_totalseg", "--results", {str(tmp_path)!r}]) == 0
        heavy = {{"torch", "scipy.stats", "pandas", "nibabel", "tifffile", "numba", "rich"}} & set(sys.modules)
        sys.exit(f"imported: {{sorted(heavy)}}" if heavy else 0)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table1_totalseg.compare.csv").is_file()
