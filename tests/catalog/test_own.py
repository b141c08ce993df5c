"""Folders of one's own: papers, rows, networks and data sets that nobody had to put into this repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers.own_folders import new, write_raw

from benchmark import lineage
from benchmark.catalog import load_catalog
from benchmark.data.raw_files import content_digest, raw_cases
from benchmark.data.split import check_split, make_split
from benchmark.data.store_digests import case_digests, store_made
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.errors import EXIT_INPUT, InputError
from benchmark.evidence.resolve import cell_sources
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wiring
from benchmark.models.registry import available_models, build
from benchmark.own import VARIABLE, use_folders
from benchmark.settings import PreparedData


@pytest.fixture(autouse=True)
def nothing_is_used_before(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A paper with a method in one of our tables and a data set, all from skeletons."""
    folder = tmp_path / "mine"
    assert new("paper", "mine", "--in", folder) == 0
    assert new("method", "my_net", "--in", folder, "--target", "table2_experts") == 0
    assert new("dataset", write_raw(tmp_path / "Dataset042_Blobs"), "--in", folder) == 0
    use_folders([folder])
    return folder


def test_a_row_of_ones_own_is_trained_by_the_tables_protocol(folder):
    catalog = load_catalog()
    target = catalog.target("table2_experts")
    (run,) = catalog.cell_runs(target, "my_net")
    assert run == "mine/totalseg/my_net/seed0" and catalog.made_elsewhere(run) is None
    theirs = catalog.run(catalog.cell_runs(target, next(iter(target.rows)))[0])
    for part in ("dataset", "preparation", "training", "inference", "convention"):
        assert getattr(catalog.run(run), part) == getattr(theirs, part)
    own = catalog.run(catalog.cell_runs(catalog.target("mine_table"), "nnU-Net")[0], "demo")
    assert (
        own.training == catalog.run("swin_smt/totalseg/nnunet/seed0", "demo").training
    )  # `extends: swin_smt/totalseg`


def test_a_row_of_ones_own_without_its_model_names_ones_own_folder(folder):
    models = folder / "models.yaml"
    models.write_text(models.read_text().replace("my_net:", "my_nett:"))
    with pytest.raises(InputError, match="unknown model of mine 'my_net'; did you mean 'my_nett'") as raised:
        load_catalog()
    assert f"where: {folder}\n" in str(raised.value)


def test_values_of_ones_own_need_no_tag_unless_the_folder_says_so(folder):
    protocol = load_catalog().papers["mine"].protocols["dataset042_blobs"]
    assert protocol.origins["training.batch"].kind == "ours"
    assert load_catalog().papers["mine"].protocols["totalseg"].origins["training.batch"].kind == "paper"
    paper = folder / "paper.yaml"
    paper.write_text(paper.read_text().replace("source: ours", "source: tagged"))
    load_catalog.__globals__["_loaded"].cache_clear()
    with pytest.raises(InputError, match="without provenance"):
        load_catalog()


def test_a_network_of_ones_own_is_built_and_counted_by_its_syntax(folder):
    import torch

    assert "my_net" in available_models()
    network = build("my_net", in_channels=2, out_channels=3, spatial_shape=(8, 8), width=4)
    assert network(torch.zeros(1, 2, 8, 8)).shape == (1, 3, 8, 8)
    path, before = folder / "networks/my_net.py", lineage.code("network", "my_net")
    for change, same in (("# a comment\n", True), ("\nSIDE = 3\n", False)):
        path.write_text(path.read_text() + change)
        lineage._syntax_of.cache_clear()
        assert (lineage.code("network", "my_net") == before) == same


def test_a_dataset_of_ones_own_parts_no_patient_and_tests_each_once(folder):
    facts = folder / "datasets/dataset042_blobs.yaml"
    text, tested = facts.read_text(), []
    for fold in range(5):
        facts.write_text(text.replace("fold: 0", f"fold: {fold}").replace("validation: 0.0", "validation: 0.25"))
        get_dataset.__globals__["_own_nnunet"].cache_clear()
        dataset = get_dataset("dataset042_blobs")
        cases = dataset.find_cases(Path(dataset.folder))
        parts = {}
        for case in cases:
            parts.setdefault(case.patient, set()).add(case.split)
        assert len(cases) == 10 and len(parts) == 5 and all(len(part) == 1 for part in parts.values())
        assert sorted(part for (part,) in parts.values()) == ["test", "train", "train", "train", "val"]
        tested += [patient for patient, part in parts.items() if part == {"test"}]
    assert sorted(tested) == [f"p{number}" for number in range(5)]


def test_nnunets_splits_file_decides_and_has_to_fit(folder):
    facts = folder / "datasets/dataset042_blobs.yaml"
    root = Path(yaml.safe_load(facts.read_text())["folder"])
    ids = [f"p{number // 2}_scan{number % 2}" for number in range(10)]
    (root / "splits_final.json").write_text(
        json.dumps([{"train": ids[2:], "val": ids[:2]}, {"train": ids[2:], "val": []}])
    )
    facts.write_text(facts.read_text() + "splits_file: splits_final.json\n")
    get_dataset.__globals__["_own_nnunet"].cache_clear()
    found = {case.id: case.split for case in get_dataset("dataset042_blobs").find_cases(root)}
    assert {name for name, part in found.items() if part == "test"} == set(ids[:2])
    facts.write_text(facts.read_text().replace("fold: 0", "fold: 1"))
    get_dataset.__globals__["_own_nnunet"].cache_clear()
    with pytest.raises(InputError, match="splits file and the cases differ"):
        get_dataset("dataset042_blobs").find_cases(root)


def test_labelled_test_cases_are_the_test_cases_and_unlabelled_ones_are_left_out(folder):
    facts = yaml.safe_load((folder / "datasets/dataset042_blobs.yaml").read_text())
    root = Path(facts["folder"])
    shutil.copytree(root / "imagesTr", root / "imagesTs")
    for number, path in enumerate(sorted((root / "imagesTs").iterdir())):
        path.rename(path.with_name(f"t{number}_0000.nii.gz"))
    dataset = get_dataset("dataset042_blobs")
    assert len(dataset.find_cases(root)) == 10
    (root / "labelsTs").mkdir()
    shutil.copy(root / "labelsTr/p0_scan0.nii.gz", root / "labelsTs/t3.nii.gz")
    parts = {case.id: case.split for case in dataset.find_cases(root)}
    assert len(parts) == 11 and [name for name, part in parts.items() if part == "test"] == ["t3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["paper", "Mine"], "not a name"),
        (["method", "unetr", "--in", "mine", "--target", "table1_totalsg"], "table1_totalseg"),
        (["dataset", "nowhere"], "no raw data set of nnU-Net"),
        (["paper", "mine", "--in", "mine"], "there is a paper already"),
        (["paper", "mine", "--in", "my papers"], "a name without spaces"),
        (["method", "unetr", "--in", "mine"], "there is a network unetr already"),
        (["dataset", "Dataset042_Blobs", "--in", "mine", "--name", "acdc"], "there is a data set acdc already"),
    ],
)
def test_what_cannot_be_made_says_why(words, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert new(*words) == EXIT_INPUT
    assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_images_without_labels_are_told_by_name(tmp_path, capsys):
    raw = write_raw(tmp_path / "raw")
    (gone, *_) = sorted((raw / "labelsTr").iterdir())
    gone.unlink()
    assert new("dataset", raw, "--in", tmp_path / "mine") == 0
    name = gone.name.removesuffix(".nii.gz")
    assert f"1 cases of imagesTr have no file in labelsTr, at which `verify` stops: {name}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("made", "found"), [(None, "no such folder"), ((), "an empty folder"), (("a", "b"), "a, b")])
def test_a_folder_that_is_no_raw_data_set_says_what_it_holds(made, found, tmp_path, capsys):
    if made is not None:
        for name in ("", *made):
            (tmp_path / "raw" / name).mkdir()
    assert new("dataset", tmp_path / "raw", "--in", tmp_path / "mine") == EXIT_INPUT
    told = capsys.readouterr().err
    assert f"found: {found}\n" in told and "give the folder that holds dataset.json" in told


@pytest.mark.parametrize(
    ("labels", "message"),
    [({"background": 0, "a": 1, "b": 3}, "gaps"), ({"background": 0, "a": [1, 2], "b": 2}, "regions")],
)
def test_labels_that_are_no_classes_are_refused(labels, message, tmp_path, capsys):
    assert new("dataset", write_raw(tmp_path / "raw", labels=labels), "--in", tmp_path / "mine") == EXIT_INPUT
    assert message in capsys.readouterr().err


def test_names_that_are_taken_and_folders_without_a_paper_are_refused(folder, tmp_path):
    (folder / "networks/unetr.py").write_text("")
    with pytest.raises(InputError, match="the name unetr is taken"):
        available_models()
    (folder / "networks/unetr.py").unlink()
    with pytest.raises(InputError, match="does not exist"):
        use_folders([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no paper"):
        use_folders([write_raw(tmp_path / "no paper here", cases=0)])


def test_a_file_that_cannot_be_imported_and_one_that_registers_another_name(folder):
    (folder / "networks/broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(InputError, match="nothing_of_that_name"):
        build("broken", in_channels=1, out_channels=2, spatial_shape=(8, 8))
    (folder / "networks/other.py").write_text((folder / "networks/my_net.py").read_text().replace("my_net", "another"))
    with pytest.raises(InputError, match="registered under the name of its file"):
        build("other", in_channels=1, out_channels=2, spatial_shape=(8, 8))


def test_given_once_more_our_own_tables_change_nothing(folder):
    use_folders(["paper_tables", folder])
    assert set(load_catalog().papers) == {"mine", "m4oe", "moe_sam", "swin_smt", "swin_umamba", "swin_umamba_dagger"}


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_raw_data_sets_in_every_format_hold_the_same(ending, tmp_path):
    import SimpleITK

    folder, roots = tmp_path / "mine", {}
    for kind in (".nii.gz", ending):
        roots[kind] = write_raw(tmp_path / f"Set{kind.replace('.', '_')}", cases=2)
        for path in sorted(roots[kind].rglob("*.nii.gz")):
            image = SimpleITK.ReadImage(str(path))
            image.SetSpacing((0.7, 1.3, 5.0))
            image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
            path.unlink()
            SimpleITK.WriteImage(image, str(path.with_name(path.name.replace(".nii.gz", kind))))
        assert new("dataset", roots[kind], "--in", folder) == 0
    use_folders([folder])
    found = []
    for kind, root in roots.items():
        dataset = get_dataset(f"set{kind.replace('.', '_')}")
        case = dataset.find_cases(root)[0]
        (fault,) = verify(dataset, root, processes=1)
        assert fault.problem == "duplicate image"  # write_raw writes one image under two names
        found.append([*dataset.load_image(case), *dataset.load_labels(case)])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype
    assert found[0][1][2, 2] == -5


@pytest.fixture
def crossed(tmp_path) -> Path:
    """A data set of five patients that is cross-validated over three folds."""
    folder = tmp_path / "mine"
    assert new("dataset", write_raw(tmp_path / "Blobs"), "--in", folder, "--folds", "3") == 0
    use_folders([folder])
    return folder


def with_fixed_spacing(folder: Path) -> None:
    """A preparation that plans nothing from the training cases."""
    path = folder / "protocols.yaml"
    path.write_text(path.read_text().replace("spacing: planned", "spacing: null").replace("ct_global", "zscore"))
    load_catalog.__globals__["_loaded"].cache_clear()


def test_a_row_is_trained_once_per_fold_and_seed(crossed):
    catalog = load_catalog(seeds=2)
    runs = catalog.cell_runs(catalog.target("blobs_table"), "nnU-Net")
    assert runs == tuple(f"mine/blobs-fold{fold}/nnunet/seed{seed}" for fold in range(3) for seed in range(2))
    source = cell_sources(catalog, catalog.target("blobs_table"), "paper")["nnU-Net", "Mean (%)"]
    assert source.folds == {fold: runs[2 * fold : 2 * fold + 2] for fold in range(3)} and source.dataset == "blobs"


def test_folds_test_every_patient_once_and_part_none(crossed):
    root, tested = Path(get_dataset("blobs").folder), []
    for fold in range(3):
        dataset = get_dataset(f"blobs.fold{fold}")
        split = make_split(dataset, dataset.find_cases(root), kind="local")
        check_split(split)
        tested += split["test"]
    assert sorted(tested) == [f"p{number // 2}_scan{number % 2}" for number in range(10)]
    with pytest.raises(InputError, match=r"no fold 3[\s\S]*0 to 2"):
        get_dataset("blobs.fold3")
    with pytest.raises(InputError, match="acdc has no folds"):
        get_dataset("acdc.fold0")


def test_folds_leave_out_test_cases_and_need_the_number_of_the_file(crossed):
    root = Path(get_dataset("blobs").folder)
    for folder, name in (("imagesTs", "t_0000"), ("labelsTs", "t")):
        (root / folder).mkdir()
        shutil.copy(root / "labelsTr/p0_scan0.nii.gz", root / folder / f"{name}.nii.gz")
    assert {case.id for case in get_dataset("blobs").find_cases(root) if case.split == "test"} == {"t"}
    assert "t" not in {case.id for case in get_dataset("blobs.fold0").find_cases(root)}
    ids = [f"p{number // 2}_scan{number % 2}" for number in range(10)]
    (root / "splits_final.json").write_text(json.dumps([{"train": ids[2:], "val": ids[:2]}] * 2))
    assert new("dataset", root, "--in", crossed, "--name", "filed", "--splits", "splits_final.json") == 0
    fold = get_dataset("filed.fold1")
    assert fold.folds == 2 and {case.id for case in fold.find_cases(root) if case.split == "test"} == set(ids[:2])
    (root / "splits_final.json").write_text(json.dumps([{"train": ids[2:], "val": ids[:2]}] * 3))
    with pytest.raises(InputError, match="another number of folds"):
        fold.find_cases(root)


def test_folds_share_raw_files_and_a_store_that_is_not_planned(crossed):
    runs = [f"mine/blobs-fold{fold}/nnunet/seed0" for fold in range(3)]
    words = {"scale": "demo", "papers": [str(crossed)], "targets": ["blobs_table"]}
    planned = {Wiring(words).layout.prepared_for(load_catalog().run(run, "demo")) for run in runs}
    assert len(planned) == 3  # what is planned from training cases differs
    with_fixed_spacing(crossed)
    wiring = Wiring(words)
    trainings = TrainingJobs(wiring)
    jobs = [SimpleNamespace(run=run, dataset=f"blobs.fold{fold}") for fold, run in enumerate(runs)]
    assert len({path for job in jobs for path in trainings.prepared(job)}) == 1
    assert [trainings.splits(job) for job in jobs] == [
        [f"results/demo/data/blobs.fold{fold}/split.json"] for fold in range(3)
    ]
    assert trainings.checked(jobs[1]) == ["results/demo/data/blobs.fold1/split_checked.json"]
    assert {wiring.source_of(job) for job in jobs} == {"results/demo/data/blobs/source.json"}
    assert {wiring.split(job) for job in jobs} == {
        f"results/demo/data/blobs.fold{fold}/split.json" for fold in range(3)
    }


def test_who_is_tested_changes_no_prepared_case(crossed, tmp_path):
    """But where something is planned from the training cases."""
    with_fixed_spacing(crossed)
    facts, root = crossed / "datasets/blobs.yaml", Path(get_dataset("blobs").folder)
    store = load_catalog().run("mine/blobs-fold0/nnunet/seed0").store
    text, found = facts.read_text(), []
    for change in (("fold: 0", "fold: 1"), ("seed: 0", "seed: 5"), ("title: Blobs", "title: Others"), None):
        get_dataset.__globals__["_own_nnunet"].cache_clear()
        lineage._syntax_of.cache_clear()
        dataset = get_dataset("blobs")
        split = make_split(dataset, dataset.find_cases(root), kind="local")
        raw = raw_cases(dataset, root)
        digests = [case_digests(one, raw, split) for one in (store, planned_from(store))]
        found.append((split["test"], store_made(store), digests[0], content_digest(raw), digests[1]))
        if change is not None:
            facts.write_text(text.replace(*change))
    tested, made, digests, content, planned = zip(*found, strict=True)
    assert len({tuple(part) for part in tested}) > 1
    assert all(one == made[0] for one in made) and all(one == digests[0] for one in digests)
    assert len(set(content)) == 1 and planned[0] != planned[1]


def planned_from(store: PreparedData) -> PreparedData:
    return store.model_copy(update={"preparation": store.preparation.model_copy(update={"spacing": "planned"})})
