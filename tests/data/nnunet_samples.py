"""Small real data sets in which nnU-Net's rules differ: isotropic or not, CT or MR, cropped or not, pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np

from benchmark.datasets import get_dataset

Find = Callable[[str], Path]
Files = list[tuple[str, Sequence[Path], Path]]  # name, one file per channel (pictures: one), labels
CT_ORGANS = ("liver", "spleen", "kidney_left", "kidney_right", "vertebrae_L1", "aorta", "stomach")


def acdc(find: Find, folder: Path) -> Files:
    """Six MR volumes of three patients: 5 and 10 mm slices, 1.4 to 1.9 mm in the plane."""
    root = find("ACDC/database")
    images = [
        path for patient in ("001", "021", "041") for path in sorted(root.rglob(f"patient{patient}_frame??.nii.gz"))
    ]
    return [(path.name[:-7], [path], path.with_name(path.name.replace(".nii", "_gt.nii"))) for path in images]


def hippocampus(find: Find, folder: Path) -> Files:
    """Four isotropic MR volumes, two of them said to have thicker voxels, so that they are resampled."""
    root = find("MSD_Task04_Hippocampus_subset")
    found = []
    for number, labels in enumerate(sorted((root / "labelsTr").glob("*.nii.gz"))[:4]):
        image = root / "imagesTr" / labels.name.replace(".nii", "_0000.nii")
        spacing = (1.0, 1.0, 1.0) if number < 2 else (1.0, 1.3, 1.1)
        found.append(_rewritten(folder, labels.name[:-7], [image], labels, spacing))
    return found


def totalseg(find: Find, folder: Path) -> Files:
    """The two CTs: 3 mm isotropic, and 0.98 x 0.98 x 2 mm in LAS; seven organs, and only some of the voxels."""
    root, dataset, found = find("TotalSegmentator_v2_sample"), get_dataset("totalseg"), []
    for case, steps in zip(dataset.find_cases(root), ((2, 2, 2), (4, 4, 1)), strict=True):
        image, affine = dataset.load_image(case)
        labels = dataset.load_labels(case, CT_ORGANS)[0]
        affine = affine @ np.diag([*steps, 1])
        paths = [folder / f"{case.id}.image.nii.gz", folder / f"{case.id}.labels.nii.gz"]
        for path, array in zip(paths, (image[0], labels), strict=True):
            nibabel.Nifti1Image(array[tuple(slice(None, None, step) for step in steps)], affine).to_filename(path)
        found.append((case.id, [paths[0]], paths[1]))
    return found


def total_mr(find: Find, folder: Path) -> Files:
    """One abdominal MR of 3 mm in LPS, its kidneys and liver."""
    root = find("TotalSegmentatorMRI_sample/s9101")
    labels = np.zeros(nibabel.load(root / "mri.nii.gz").shape, np.uint8)
    for number, organ in enumerate(("liver", "kidney_left", "kidney_right"), start=1):
        mask = nibabel.load(root / "segmentations" / f"{organ}.nii.gz")
        labels[np.asarray(mask.dataobj) > 0] = number
    path = folder / "s9101.labels.nii.gz"
    nibabel.Nifti1Image(labels, mask.affine).to_filename(path)
    return [("s9101", [root / "mri.nii.gz"], path)]


def brats(find: Find, folder: Path) -> Files:
    """Two glioma cases with two MR channels and much air: every third voxel, one said to have thicker slices."""
    root = find("BraTS2013_deepmedic_subset")
    found = []
    for number, labels in enumerate(sorted((root / "labelsTr").glob("*.nii.gz"))[:2]):
        images = sorted((root / "imagesTr").glob(labels.name[:-7] + "_0*.nii.gz"))
        spacing = (3.0, 3.0, 3.0) if number else (3.0, 3.0, 10.0)
        found.append(_rewritten(folder, labels.name[:-7], images, labels, spacing, step=3))
    return found


def endoscopy(find: Find, folder: Path) -> Files:
    """Three colour frames."""
    root = find("Endoscopy_cholec_video01")
    labels = sorted((root / "labelsTr").glob("*.png"))[:3]
    return [(path.stem, [root / "imagesTr" / f"{path.stem}_0000.png"], path) for path in labels]


SAMPLES: dict[str, Callable[[Find, Path], Files]] = {
    sample.__name__: sample for sample in (acdc, hippocampus, totalseg, total_mr, brats, endoscopy)
}
CLASSES = {"acdc": 3, "hippocampus": 2, "totalseg": 7, "total_mr": 3, "brats": 4, "endoscopy": 1}


def _rewritten(
    folder: Path, name: str, images: Sequence[Path], labels: Path, spacing: Sequence[float], step: int = 1
) -> tuple[str, Sequence[Path], Path]:
    """The same arrays, every `step`-th voxel of them, under another spacing; air (what the corner has) is 0."""
    paths = []
    for path in (*images, labels):
        array = np.asarray(nibabel.load(path).dataobj)[::step, ::step, ::step]
        paths.append(folder / f"rewritten_{path.name}")
        whole = array.astype(np.uint8) if path == labels else np.where(array == array[0, 0, 0], 0, array)
        nibabel.Nifti1Image(whole, np.diag([*spacing, 1.0])).to_filename(paths[-1])
    return name, paths[:-1], paths[-1]
