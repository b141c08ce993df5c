"""AbdomenMRI's layout through the commands: raw → store → a few steps → receptive field → figure, all at demo scale."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.cli import main
from benchmark.errors import EXIT_INPUT
from benchmark.files import read_json, write_json
from benchmark.layout import Layout

RUN = "swin_umamba/abdomen_mri-segresnet/segresnet/seed0"
FIGURE = "fig7_receptive_field"
SAMPLES = 6
CASES = {"amos_0507": "Tr", "amos_0508": "Tr", "mr_01": "Ts"}


def write_cases(root: Path) -> None:
    """Volumes like abdominal MR, of unlike shapes: blocks of organs in noise, in nnU-Net's raw layout."""
    generator = np.random.default_rng(0)
    for number, (case, part) in enumerate(CASES.items()):
        shape = (40 + 4 * number, 36, 5)
        labels = np.zeros(shape, np.uint8)
        for organ in range(1, 14):
            row, column = divmod(organ - 1, 4)
            labels[4 + 9 * row : 10 + 9 * row, 3 + 8 * column : 9 + 8 * column, 1:4] = organ
        image = (30 * labels + generator.normal(100, 10, shape)).astype(np.int16)
        for folder, array in (("images", image), ("labels", labels)):
            name = f"{case}_0000.nii.gz" if folder == "images" else f"{case}.nii.gz"
            (root / f"{folder}{part}").mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(array, np.diag([-1.5, 1.5, 6.0, 1.0])).to_filename(root / f"{folder}{part}" / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Everything up to the trained network: three steps on the voxels as they are, nothing else was changed."""
    folder = tmp_path_factory.mktemp("abdomen")
    write_cases(folder / "raw")
    shutil.copytree(DEFAULT_FOLDER, folder / "paper_tables")
    protocols = folder / "paper_tables/swin_umamba/protocols.yaml"
    shorten(protocols, "iterations_per_epoch: 160", "iterations_per_epoch: 3")
    shorten(protocols, "spacing: [6.0, 6.0, 7.5]", "spacing: [1.5, 1.5, 6.0]")
    shorten(folder / f"paper_tables/swin_umamba_dagger/{FIGURE}.yaml", "samples: 1000", f"samples: {SAMPLES}")
    paths = layout(folder)
    data = Path(paths.source("abdomen_mri")).parent
    config = load_catalog(folder / "paper_tables").run(RUN, "demo")
    prepared = paths.prepared_for(config)
    source, split = f"--source {data}/source.json", f"--split {data}/split.json"
    for words in (
        f"fetch abdomen_mri --root {folder}/raw --out {data}/source.json",
        f"verify abdomen_mri {source} --out {data}/verified.json",
        f"split abdomen_mri {source} --out {data}/split.json",
        f"prepare {RUN} {options(folder)} {source} {split} --out {prepared}",
        f"train {RUN} {options(folder)} --stores {prepared} --splits {data}/split.json --workers 0"
        f" --out {paths.trained(RUN)}",
    ):
        assert main(words.split()) == 0, words
    return folder


def shorten(path: Path, long: str, short: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert long in text
    path.write_text(text.replace(long, short), encoding="utf-8")


def layout(folder: Path) -> Layout:
    return Layout(str(folder / "results"))


def options(folder: Path) -> str:
    return f"--scale demo --paper-tables {folder}/paper_tables"


def measure(folder: Path) -> int:
    paths, config = layout(folder), load_catalog(folder / "paper_tables").run(RUN, "demo")
    words = f"receptive-field {RUN} {options(folder)} --samples {SAMPLES} --store {paths.prepared_for(config)}"
    words += f" --split {paths.split('abdomen_mri')} --weights {paths.trained(RUN)} --out {paths.receptive_field(RUN)}"
    return main([*words.split(), "--device", "cpu"])


def draw(folder: Path, out: str) -> tuple[int, str]:
    code = main(f"figure {FIGURE} {options(folder)} --results {folder}/results --out-dir {folder}/{out}".split())
    path = folder / out / f"{FIGURE}.svg"
    return code, path.read_text(encoding="utf-8") if path.is_file() else ""


def test_from_raw_volumes_to_the_figure(folder, capsys):
    code, sheet = draw(folder, "before")
    assert code == 0 and "not attempted" in sheet
    assert measure(folder) == 0
    field = np.load(layout(folder).receptive_field(RUN))
    assert field.shape == (64, 64) and field.max() > 0
    code, figure = draw(folder, "after")
    assert code == 0 and ">SegResNet<" in figure and "demo scale, not comparable" in figure
    assert f"mean of {SAMPLES} samples" in figure
    assert "UNETR: not attempted (not run)" in figure and "Swin-UMamba†: not attempted (not run)" in figure
    assert draw(folder, "again") == (0, figure)

    published = f"figure {FIGURE} {options(folder)} --published --results {folder}/results --out-dir {folder}/none"
    assert main(published.split()) == EXIT_INPUT  # what was rebuilt is never drawn as published
    assert "prints no numbers" in capsys.readouterr().err

    record = Path(layout(folder).receptive_field(RUN)).with_suffix(".json")
    kept = read_json(record)
    write_json(record, {**kept, "made": {**kept["made"], "code.receptive_field": 0}})
    capsys.readouterr()
    assert draw(folder, "stale") == (EXIT_INPUT, "")
    assert "a map was made with other settings" in capsys.readouterr().err
    record.unlink()
    assert draw(folder, "stale") == (EXIT_INPUT, "")
    assert "a map was made with other settings" in capsys.readouterr().err
    write_json(record, kept)
