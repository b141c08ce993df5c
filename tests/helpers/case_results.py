"""A results folder of two runs on hand-made scans, as prediction and scoring leave it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from helpers.simulated_scores import CLASSES, write_scores

from benchmark.catalog.catalog import load_catalog
from benchmark.files import write_json, write_text
from benchmark.layout import Layout

RUNS = ("swin_smt/totalseg/swin_smt-n32/seed0", "swin_smt/totalseg/unetr/seed0")
SHAPE = (8, 10, 6)
FLIPPED = np.diag([-1.5, 1.5, 3.0, 1.0])  # the first axis runs to the patient's left, the second to the front


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, FLIPPED), path)


def block(shift: int = 0) -> np.ndarray:
    """Labels with one structure in slices 1 to 3, moved along the first axis."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1 + shift : 5 + shift, 2:7, 1:4] = 1
    return labels


def case_values(cases: int, seed: int) -> np.ndarray:
    """Scores [cases, classes]; the first case is the worst."""
    values = np.random.default_rng(seed).uniform(0.4, 0.9, (cases, len(CLASSES)))
    values[0] /= 3
    return values


def write_case_results(folder: Path, cases: int = 5) -> Layout:
    """Raw scans, references, predictions (of the last case none) and scores."""
    layout, catalog, root = Layout(str(folder / "results")), load_catalog(), folder / "raw"
    store = Path(layout.prepared_for(catalog.run(RUNS[0], "demo"))).parent
    names = [f"s{number:04d}" for number in range(cases)]
    lines = ["image_id;age;gender;institute;study_type;split", *(f"{name};1;m;a;ct;test" for name in names)]
    write_text(root / "meta.csv", "\n".join(lines) + "\n")
    write_json(layout.source("totalseg"), {"dataset": "totalseg", "root": str(root), "kind": "local"})
    for name in names:
        save(root / name / "ct.nii.gz", np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32))
        save(store / "references" / f"{name}.nii.gz", block())
    for seed, run in enumerate(RUNS):
        for name in names[:-1]:
            save(Path(layout.predictions_of(run)) / f"{name}.nii.gz", block(shift=1))
        digest = catalog.run(run, "demo").digest
        write_scores(Path(layout.scored(run)), run, case_values(cases, seed), config_digest=digest)
        write_json(layout.scores_record(run), {"made": {"predictions": run, "code.score": 1}})
    return layout
