"""Label maps on disk, in the format that their name asks for, and the command that scores them."""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from benchmark.scoring import score

AFFINE = np.diag([-1.0, 2.0, 3.0, 1.0])


def write(path: Path, array: np.ndarray, *, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, affine), path)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array, compression="lzw")
    return path


def run(folder: Path, *options: str) -> int | None:
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    common = ["--reference", str(folder / "reference"), "--prediction", str(folder / "prediction")]
    return score.main(parser.parse_args([*common, "--labels", str(folder / "labels.json"), *options]))
