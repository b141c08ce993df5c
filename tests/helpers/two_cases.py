"""A store of two equal volumes, one to train on and one to validate and predict; no crop, no resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.data.store import PreparedStore
from benchmark.files import write_json


def create_two_cases(folder: Path, image: np.ndarray, labels: np.ndarray) -> PreparedStore:
    """Of an image [1, X, Y, Z] and labels [X, Y, Z] of two structures, on 1 × 2 × 4 mm; with its split.json."""
    shape = list(labels.shape)
    meta = {
        "spacing": [1.0, 2.0, 4.0],
        "raw": {"shape": shape, "affine": np.diag([1.0, 2, 4, 1]).tolist()},
        "crop": {"start": [0, 0, 0], "stop": shape},
        "reoriented_shape": shape,
        "resampled_shape": shape,
        "orientation": {"raw": None, "prepared": None},
    }
    cases = {case: (image.astype(np.float32), labels, meta) for case in ("a", "b")}
    write_json(folder / "split.json", {"train": ["a"], "val": ["b"], "test": ["b"], "digest": "split"})
    return PreparedStore.create(folder, cases, label_names=["one", "two"])
