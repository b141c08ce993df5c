"""`--sdm conda`: the environment that every rule offers can be made, by a stand-in for conda that installs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.clone import environment, snakemake
from helpers.dry_run import make_clone

# What Snakemake asks of conda. In an environment that it makes, `python` writes down where it runs and what it is told.
CONDA = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
case "$1 $2" in
    "info --json") echo '{"conda_prefix": "'"$here"'", "root_prefix": "'"$here"'", "platform": "linux-64"}' ;;
    "--version "*) echo "conda 25.1.0" ;;
    "clean "*) ;;
    "config "*) echo '{"get": {"channel_priority": "strict"}}' ;;
    "env create")
        for word; do
            case "$before" in --prefix|-p) prefix=$word ;; --file|-f) file=$word ;; esac
            before=$word
        done
        mkdir -p "$prefix/bin" "$prefix/conda-meta"
        cp "$file" "$here/read.yaml"
        printf '#!/bin/sh\\n{ pwd; printf "%%s\\\\n" "$@"; echo; } >> "%s/said"\\n' "$here" > "$prefix/bin/python"
        chmod +x "$prefix/bin/python"
        ;;
    *) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a conda that is first on PATH."""
    root = tmp_path / "conda"
    (root / "bin").mkdir(parents=True)
    (root / "bin/conda").write_text(CONDA)
    (root / "bin/conda").chmod(0o755)
    (root / "bin/activate").write_text('export PATH="$1/bin:$PATH"\n')
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{environment(tmp_path)['PATH']}")
    return root


def test_the_lock_is_installed_without_dependencies_wherever_snakemake_was_started(tmp_path: Path, conda: Path) -> None:
    clone, work = make_clone(tmp_path / "a clone"), tmp_path / "elsewhere"
    work.mkdir()
    words = ["--cores", "1", "--sdm", "conda", "--conda-create-envs-only", "results/cost/table1_totalseg.csv"]
    done = snakemake(clone, *words, directory=work)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    read = (conda / "read.yaml").read_text()
    assert "python=3.11" in read and "- -r" not in read  # Snakemake hands a copy over: no file lies beside it
    calls = [block.splitlines() for block in (conda / "said").read_text().strip().split("\n\n")]
    locks = {Path(call[0], call[call.index("-r") + 1]): call for call in calls if "-r" in call}
    assert clone / "envs/train.lock" in locks and all(lock.is_file() for lock in locks)
    assert all("--no-deps" in call for call in locks.values())
