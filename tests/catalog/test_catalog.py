"""The catalog: resolution of runs, messages for typos, provenance, and what is generated from the types."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmark.catalog import Catalog, load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.catalog.derivation import derivation
from benchmark.catalog.list import KINDS
from benchmark.catalog.provenance import merge, split_tags
from benchmark.errors import InputError
from benchmark.jobs.configuration import workflow_config
from benchmark.jobs.schema import REPOSITORY, generated_files
from benchmark.models.registry import NOT_NETWORKS

CATALOG = load_catalog()
ALL_RUNS = sorted({run for target in CATALOG.targets.values() for run in CATALOG.runs(target)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of paper_tables that a test may spoil."""
    return Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))


def edit(path: Path, change) -> None:
    tree = yaml.safe_load(path.read_text())
    change(tree)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))


@pytest.mark.parametrize("run", ALL_RUNS)
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_every_run_resolves(run: str, scale: str) -> None:
    config = CATALOG.run(run, scale)
    assert config.run == run and config.scale == scale
    assert config.digest == Catalog().run(run, scale).digest  # stable over processes and loads


def test_swin_smt_protocol_is_the_papers() -> None:
    training = CATALOG.run("swin_smt/totalseg/swin_smt-n32/seed0").training
    assert (training.patch, training.batch, training.epochs) == ((128, 128, 128), 8, 1000)
    assert training.total_steps(1082) == 136_000  # ceil(1082 / 8) = 136 steps an epoch
    assert (training.optimiser.learning_rate, training.optimiser.weight_decay) == (1e-4, 1e-5)


def test_scales_differ_in_settings_and_digest() -> None:
    run = "swin_smt/totalseg/unetr/seed0"
    paper, demo = CATALOG.run(run, "paper"), CATALOG.run(run, "demo")
    assert demo.training.total_steps(8) < paper.training.total_steps(1082)
    assert demo.digest != paper.digest and demo.preparation_id != paper.preparation_id


def test_runs_that_prepare_alike_share_a_store() -> None:
    ids = {CATALOG.run(run).preparation_id for run in ALL_RUNS if run.startswith("swin_smt/totalseg/")}
    assert len(ids) == 1


def test_tables_share_the_run_of_the_headline_model() -> None:
    run = "swin_smt/totalseg/swin_smt-n32/seed0"
    users = [name for name, target in CATALOG.targets.items() if run in CATALOG.runs(target)]
    assert {"table1_totalseg", "table2_experts", "fig3a_subgroups"} <= set(users)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("table1_totalseg.yaml", lambda t: t["columns"]["Organs"].update(metrik="dsc"), ["metrik", "metric", "Organs"]),
        (
            "table1_totalseg.yaml",
            lambda t: t["rows"]["UNETR"].update(model="untr"),
            ["untr", "unetr", "table1_totalseg.yaml"],
        ),
        (
            "table1_totalseg.yaml",
            lambda t: t["rows"].pop("UNETR"),
            ["UNETR", "has no row", "table1_totalseg.published.csv:2"],
        ),
        ("protocols.yaml", lambda t: t["totalseg"]["training"].update(patch=[1]), ["training.patch", "provenance"]),
        (
            "protocols.yaml",
            lambda t: t["totalseg"]["training"]["batch"].update(code="x"),
            ["training.batch", "exactly one"],
        ),
        (
            "protocols.yaml",
            lambda t: t["totalseg"]["training"]["batch"].update(value="many"),
            ["training.batch", "many"],
        ),
        (
            "protocols.yaml",
            lambda t: t["totalseg"]["training"].update(epoch={"value": 1, "paper": "x"}),
            ["epoch", "did you mean 'epochs'", "protocols.yaml"],
        ),
        ("models.yaml", lambda t: t["unetr"].update(model=None), ["models.yaml", "unetr"]),
        ("paper.yaml", lambda t: t.pop("year"), ["paper.yaml", "year: missing"]),
        ("ledger.yaml", lambda t: t["slots-from-input"].update(default="maybe"), ["ledger.yaml", "default", "maybe"]),
        (
            "protocols.yaml",
            lambda t: t["totalseg"]["convention"].update(value="swin_smtt"),
            ["protocols.yaml: totalseg", "unknown convention", "did you mean 'swin_smt'"],
        ),
        (
            "table1_totalseg.yaml",
            lambda t: t["columns"]["Ribs"].update(metric="dcs"),
            ["table1_totalseg.yaml: columns: Ribs", "unknown metric", "did you mean 'dsc'"],
        ),
        (
            "table1_totalseg.yaml",
            lambda t: t["columns"]["Ribs"].update(unit="parsec"),
            ["columns.Ribs.unit", "parsec", "hours"],
        ),
        (
            "ledger.yaml",
            lambda t: t["slots-from-input"].update(concerns=["swin_smtt"]),
            ["ledger.yaml: slots-from-input", "did you mean 'swin_smt'"],
        ),
        ("ledger.yaml", lambda t: t["slots-from-input"].pop("concerns"), ["ledger.yaml: slots-from-input", "concerns"]),
    ],
)
def test_a_typo_names_file_key_and_what_is_allowed(folder: Path, file: str, change, words: list[str]) -> None:
    edit(folder / "swin_smt" / file, change)
    with pytest.raises(InputError) as caught:
        Catalog(folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("UNETR,Organs,73.84,,", [":98", "('UNETR', 'Organs') stands twice", "first in line 4"]),
        ("UNETR,Organz,73.84,,", [":98", "has no column", "did you mean 'Organs'?", "Vertebrae"]),
        ("Nobody,Organs,73.84,,", [":98", "has no row", "Universal Model"]),
        ("UNETR,Organs,73.84", [":98", "wrong number of fields"]),
    ],
)
def test_a_wrong_published_cell_is_named_by_its_line(folder: Path, line: str, words: list[str]) -> None:
    path = folder / "swin_smt" / "table1_totalseg.published.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError) as caught:
        Catalog(folder)
    message = str(caught.value)
    assert all(word in message for word in words) and len(message) < 500


@pytest.mark.parametrize("name", ["models.yaml", "table1_totalseg.published.csv"])
def test_a_file_that_is_no_text_is_named(folder: Path, name: str) -> None:
    (folder / "swin_smt" / name).write_bytes(b"\x94\xff\x00\x80")
    with pytest.raises(InputError, match=name):
        Catalog(folder)


def test_broken_yaml_is_named_by_its_line(folder: Path) -> None:
    path = folder / "swin_smt" / "models.yaml"
    path.write_text("unetr:\n  model: [1\n")
    with pytest.raises(InputError, match=r"models\.yaml:\d"):
        Catalog(folder)


def test_a_repeated_key_and_a_wrong_csv_header_are_refused(folder: Path) -> None:
    path = folder / "swin_smt" / "models.yaml"
    path.write_text(path.read_text() + "\nunetr: {model: unetr}\n")
    with pytest.raises(InputError, match="key 'unetr' stands twice"):
        Catalog(folder)
    path.write_text("3: unetr\n0x3: segresnet\n")
    with pytest.raises(InputError, match="key 3 stands twice"):
        Catalog(folder)
    shutil.copy(DEFAULT_FOLDER / "swin_smt" / "models.yaml", path)
    csv = folder / "swin_smt" / "table1_totalseg.published.csv"
    csv.write_text(csv.read_text().replace("row,column", "zeile,column", 1))
    with pytest.raises(InputError, match="header"):
        Catalog(folder)


@pytest.mark.parametrize(
    "run", ["nobody/totalseg/unetr/seed0", "swin_smt/x/unetr/seed0", "swin_smt/totalseg/unetr/one"]
)
def test_unknown_runs_are_refused(run: str) -> None:
    with pytest.raises(InputError):
        CATALOG.run(run)


def test_runs_are_shared_where_they_agree_and_only_there() -> None:
    """Two run ids never stand for one training: dataset, network, initialisation, recipe and seed tell them apart."""
    runs = {run for target in CATALOG.targets.values() for run in CATALOG.runs(target)}
    settings = {run: CATALOG.run(run).model_copy(update={"run": "a/b/c/seed0"}).digest for run in runs}
    agreeing = [{one, other} for one in runs for other in runs if one < other and settings[one] == settings[other]]
    assert len(runs) == 168 and agreeing == []


ORIGINAL_STEPS = {  # of the repositories; the others train 1000 epochs of 1082 cases, the Universal Model 2000
    "unest": 50_000, "uxnet": 40_000, "repuxnet": 60_000, "nnunet": 250_000, "nnformer": 250_000,
    "dints": 68_000, "universal_model": 272_000,
}  # fmt: skip


@pytest.mark.parametrize("variant", CATALOG.variants())
def test_a_variant_changes_the_rows_that_have_it_and_no_others(variant: str) -> None:
    other, changed = load_catalog(variant=variant), 0
    for name, target in other.targets.items():
        for row, spec in target.rows.items():
            runs = other.runs(target, rows=[row])
            changed += runs != CATALOG.runs(CATALOG.target(name), rows=[row])
            assert (variant in spec.variants) == (runs != CATALOG.runs(CATALOG.target(name), rows=[row]))
            for run in runs:
                assert other.run(run).digest and other.run(run, "demo").digest
    assert changed


def test_the_original_recipes_are_those_of_the_repositories() -> None:
    catalog = load_catalog(variant="original")
    runs = catalog.runs(catalog.target("table1_totalseg"), scored=True)
    configs = {run.split("/")[2].split("-")[0]: catalog.run(run) for run in runs}
    assert runs[-1] == "swin_smt/totalseg/swin_smt-n32/seed0" and len(runs) == 12
    steps = {name: config.training.total_steps(1082) for name, config in configs.items()}
    assert steps == {name: ORIGINAL_STEPS.get(name, 136_000) for name in configs}
    optimisers = {name: (one.name, one.learning_rate) for name in configs for one in [configs[name].training.optimiser]}
    sgd = {"nnunet": ("sgd", 0.01), "nnformer": ("sgd", 0.01), "dints": ("sgd", 0.2)}
    assert optimisers == {name: sgd.get(name, ("adamw", 1e-4)) for name in configs}
    assert {config.training.patch for config in configs.values()} == {(128, 128, 128)}


def test_a_variant_that_no_row_has_is_refused() -> None:
    with pytest.raises(InputError, match="unknown variant 'orginal'; did you mean 'original'"):
        load_catalog(variant="orginal")


def test_unknown_target_lists_the_known() -> None:
    with pytest.raises(InputError, match="table1_totalseg"):
        CATALOG.target("table9")
    with pytest.raises(InputError, match="did you mean 'table1_totalseg'"):
        CATALOG.target("table1_totalsg")


def test_split_tags_and_merge() -> None:
    values, origins = split_tags({"a": {"b": {"value": 3, "paper": "Section 1"}}}, where="x")
    assert values == {"a": {"b": 3}} and origins == {"a.b": ("paper", "Section 1")}
    assert merge({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": 5}, "d": [3]}) == {"a": {"b": 5, "c": 2}, "d": [3]}


def test_a_network_without_a_module_is_an_error(folder: Path) -> None:
    edit(folder / "swin_smt" / "models.yaml", lambda tree: tree["unetr"].update(model="unter"))
    with pytest.raises(InputError, match="unknown network 'unter'; did you mean 'unetr'") as caught:
        Catalog(folder)
    assert "models.yaml: unetr" in str(caught.value) and "registry" in NOT_NETWORKS


def test_a_dataset_without_a_module_is_an_error(folder: Path) -> None:
    edit(folder / "swin_smt" / "protocols.yaml", lambda tree: tree["totalseg"].update(dataset="totalsegg"))
    with pytest.raises(InputError, match="unknown dataset 'totalsegg'; did you mean 'totalseg'"):
        Catalog(folder)


def test_generated_files_are_up_to_date() -> None:
    for path, text in generated_files().items():
        assert (REPOSITORY / path).read_text(encoding="utf-8") == text, f"{path}: run retable schema"


def test_wrong_configuration_names_the_key() -> None:
    with pytest.raises(InputError, match="did you mean 'scale'"):
        workflow_config({"scal": "demo"})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"roots": "/data"}, "{totalseg: /data/ts}"),
        ({"rows": {"table1_totalseg": "UNETR"}}, "{table1_totalseg: [UNETR, nnU-Net]}"),
        ({"gpus_per_node": "zero"}, "spreads over several nodes"),
    ],
)
def test_a_wrong_value_is_told_what_belongs_there(config: dict, told: str) -> None:
    with pytest.raises(InputError, match=rf"{next(iter(config))}.*\(found: [\s\S]*{re.escape(told)}"):
        workflow_config(config)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_have_rows(kind: str) -> None:
    header, rows = KINDS[kind](CATALOG)
    assert rows and all(len(row) == len(header) for row in rows)


def test_a_cell_is_derived() -> None:
    text = "\n".join(derivation(CATALOG, CATALOG.target("table1_totalseg"), "UNETR", "Overall", "paper"))
    for word in ("70.88 (*)", "swin_smt/totalseg/unetr/seed0", "paper: Section 3", "assumed:", "snakemake"):
        assert word in text
    assert "variant     original: swin_smt/totalseg-unetr/unetr/seed0 (--config variant=original)" in text
    with pytest.raises(InputError, match="no row"):
        list(derivation(CATALOG, CATALOG.target("table1_totalseg"), "UNet", "Overall", "paper"))


def test_catalog_scoring_evidence_and_datasets_do_without_torch() -> None:
    script = (
        "import importlib, pkgutil, sys, benchmark\n"
        "for room in ('catalog', 'scoring', 'evidence', 'datasets'):\n"
        "    package = importlib.import_module(f'benchmark.{room}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print(sorted({'torch', 'monai', 'snakemake'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_command_line_reports_bad_input_with_exit_code_2() -> None:
    command = [sys.executable, "-m", "benchmark", "explain", "table9", "x", "y"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "unknown target 'table9'" in done.stderr and "Traceback" not in done.stderr
