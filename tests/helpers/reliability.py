"""Writes the table of docs/reliability.md from what the tests measured.

RETABLE_MEASUREMENTS=docs/reliability.json python -m pytest tests/slurm
python tests/helpers/reliability.py
"""

from __future__ import annotations

from pathlib import Path

from benchmark.files import read_json, write_text

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- table: written by tests/helpers/reliability.py -->", "<!-- end of table -->"
FAULTS = {
    "requeued": (
        "`scontrol requeue` in the middle of a training",
        "SIGTERM: finishes the step, saves; SLURM restarts it",
    ),
    "out_of_time": ("time limit of a minute", "told before the limit: finishes the step, saves, exits 75; retry"),
    "cancelled": ("`scancel`", "SIGTERM: finishes the step, saves; retry"),
    "rank_killed": ("one of two processes killed (SIGKILL)", "the others end at once; retry"),
    "node_lost": ("one of two nodes loses power", "SLURM gives the node up and requeues; continues"),
    "orphaned": (
        "Snakemake killed (SIGKILL) and started again",
        "the job runs on; the second waits in the queue for it",
    ),
    "vanished": (
        "a job reported as finished, output not there",
        "the job runs on; the retry waits in the queue for it",
    ),
    "controller": (
        "the controller is killed, and is away for 15 s",
        "trainings run on; Snakemake asks until it answers",
    ),
    "disk_full": ("disk full while a checkpoint is written", "message; the last checkpoint is whole; retry"),
    "not_a_number": ("a NaN in the data", "stops with step, rate and advice before saving; retry"),
    "broken_sample": ("an exception in the data loader", "the first error is shown with its place; retry"),
}


def table(measured: dict[str, dict]) -> str:
    """Markdown, one line per fault."""
    lines = ["| fault | what happens | starts | steps computed twice | until its processes were gone |"]
    lines.append("|---|---|---|---|---|")
    for name, (fault, reaction) in FAULTS.items():
        one = measured[name]
        ended = one["seconds_until_ended"]
        seconds = "" if ended is None else f"{ended:.0f} s" if ended >= 1 else "< 1 s"
        repeated = f"{one['steps_repeated']:.3g} of at most {one['interval']}"
        lines.append(f"| {fault} | {reaction} | {one['attempts']} | {repeated} | {seconds} |")
    return "\n".join(lines)


def with_table(text: str, rows: str) -> str:
    """The page with `rows` between its two marks."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


if __name__ == "__main__":
    page = DOCS / "reliability.md"
    write_text(page, with_table(page.read_text(encoding="utf-8"), table(read_json(DOCS / "reliability.json"))))
