"""What stops a run before or in its first job is told where Snakemake was started, whatever the profile."""

from __future__ import annotations

from pathlib import Path

from helpers.clone import snakemake
from helpers.dry_run import make_clone


def test_wrong_places_are_told_on_the_terminal(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    (clone / "results/demo").write_text("a file in the place of the results\n")
    refused = snakemake(clone, "--profile", "demo", "results/demo/cost/table1_design.csv")
    assert refused.returncode and "error: cannot write demo\n  where: results\n" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr

    source = "results/data/acdc/source.json"
    refused = snakemake(clone, "--cores", "1", "--config", "roots={acdc: /nowhere}", "--", source)
    assert refused.returncode and "the folder given for acdc does not exist\n  where: /nowhere" in refused.stderr
    assert "correct --root (or roots in the configuration)" in refused.stderr
