"""Pictures of cases come after scores, one job per run."""

from __future__ import annotations

from pathlib import Path

from helpers.dry_run import job_counts, make_clone, run


def test_one_job_per_run_after_its_scores(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    records = [f"results/demo/runs/swin_smt/totalseg/{model}/seed0/cases.json" for model in ("unetr", "nnformer")]
    done = run(f"snakemake --profile demo -n {' '.join(records)}", clone)
    assert done.returncode == 0, done.stderr
    planned = job_counts(done.stdout)
    assert {name: planned[name] for name in ("draw_cases", "score_run", "predict_cases", "prepare_cases")} == {
        "draw_cases": 2, "score_run": 2, "predict_cases": 2, "prepare_cases": 1
    }  # fmt: skip
