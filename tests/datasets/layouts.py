"""Small cases in the published layouts of BTCV, Synapse, MM-WHS and ACDC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from benchmark.datasets import get_dataset

LAS = np.diag([-1.5, 1.5, 5.0, 1.0])
SHAPE = (9, 8, 6)
VOLUMES = ("acdc", "btcv", "mmwhs", "synapse")
FILES = {  # image and label of a number
    "btcv": ("RawData/Training/img/img{0:04d}.nii.gz", "RawData/Training/label/label{0:04d}.nii.gz"),
    "synapse": ("RawData/Training/img/img{0:04d}.nii.gz", "RawData/Training/label/label{0:04d}.nii.gz"),
    "mmwhs": ("ct_train/ct_train_{0}_image.nii.gz", "ct_train/ct_train_{0}_label.nii.gz"),
    "acdc": (
        "{1}/patient{0:03d}/patient{0:03d}_frame{2:02d}.nii.gz",
        "{1}/patient{0:03d}/patient{0:03d}_frame{2:02d}_gt.nii.gz",
    ),
}
NUMBERS = {
    "train": {"btcv": 1, "synapse": 5, "mmwhs": 1001, "acdc": 1},
    "test": {"btcv": 35, "synapse": 1, "mmwhs": 1003, "acdc": 101},
}
ED, ES = 1, 12


def save(path: Path, array: np.ndarray, affine: np.ndarray = LAS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return path


def raw_values(name: str) -> Sequence[int]:
    """Every value that the label files of a dataset may hold."""
    return list(get_dataset(name).allowed_values(Path("label0001.nii.gz")))


def case_files(root: Path, name: str, number: int, frame: int = ED) -> tuple[Path, Path]:
    """Where image and label of a scan (or of a frame of a patient) belong."""
    part = "testing" if number > 100 else "training"
    image, label = (root / pattern.format(number, part, frame) for pattern in FILES[name])
    return image, label


def write_scan(
    root: Path, name: str, number: int, image: np.ndarray, label: np.ndarray, affine: np.ndarray = LAS
) -> None:
    """A scan; of ACDC a patient with this volume as ED and, with other voxels, as ES."""
    frames = {ED: image, ES: image + 1} if name == "acdc" else {ED: image}
    for frame, volume in frames.items():
        image_path, label_path = case_files(root, name, number, frame)
        save(image_path, volume, affine)
        save(label_path, label, affine)
    if name == "acdc":
        info = f"ED: {ED}\nES: {ES}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
        (image_path.parent / "Info.cfg").write_text(info)
        save(image_path.with_name(f"patient{number:03d}_4d.nii.gz"), np.stack([image] * 3, axis=-1), np.eye(4))


def write_layout(root: Path, name: str, numbers: Sequence[int] | None = None) -> Path:
    """Scans of these numbers (default: one that trains, one that tests), each with every label value."""
    numbers = numbers or [NUMBERS[part][name] for part in NUMBERS]
    values = np.array(raw_values(name), np.int16)
    for number in numbers:
        generator = np.random.default_rng(number)
        image = generator.integers(-200, 300, SHAPE).astype(np.int16)
        write_scan(root, name, number, image, np.resize(values, SHAPE))
    return root


def write_stored(root: Path, case: str, image: np.ndarray, label: np.ndarray, *, volume: bool) -> list[Path]:
    """TransUNet's files of a case from arrays [slices, H, W]: one volume, or a file a slice."""
    if volume:
        files: Mapping[str, tuple] = {f"test_vol_h5/{case}.npz": (image, label)}
    else:
        files = {f"train_npz/{case}_slice{z:03d}.npz": (image[z], label[z]) for z in range(len(image))}
    for file, (part, labels) in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        np.savez(root / file, image=part, label=labels)
    return [root / file for file in files]
