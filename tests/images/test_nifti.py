"""NIfTI files: the end of the stream, one geometry, units, shear, scales, trailing axes; nibabel is the oracle."""

from __future__ import annotations

import gzip
import struct
import zlib

import nibabel
import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.images.geometry import LARGEST_SHEAR, shear
from benchmark.images.labels import read_label_file
from benchmark.images.nifti import check_gzip, read_grid, read_nifti

AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
PIXDIM, UNITS, SLOPE = 80, 123, 112  # bytes of a NIfTI-1 header


def write(path, array, affine=AFFINE, *, dtype=None):
    image = nibabel.Nifti1Image(array, affine)
    if dtype is not None:
        image.set_data_dtype(dtype)
    image.to_filename(path)
    return path


def edited(path, offset, content):
    """The file with bytes of its (uncompressed) header replaced."""
    packed = path.name.endswith(".gz")
    whole = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(whole)) if packed else bytes(whole))
    return path


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 90, (12, 11, 10)).astype(np.int16)


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", ">f4", "<f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_arrays_and_affines_are_nibabels(tmp_path, volume, kind, suffix):
    header = nibabel.Nifti1Header(endianness="<" if kind[0] != ">" else ">")
    header.set_data_dtype(np.dtype(kind))
    path = tmp_path / f"a{suffix.lower()}"
    nibabel.Nifti1Image(volume.astype(kind), AFFINE, header).to_filename(path)
    image = nibabel.load(path)
    expected = np.asarray(image.dataobj)
    path = path.rename(tmp_path / f"b{suffix}")
    found = read_nifti(path)
    assert np.array_equal(found.array, expected) and found.array.dtype.isnative
    assert found.array.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found.grid.affine, image.affine) and found.grid.sides == (1.5, 1.5, 3.0)
    assert read_grid(path).shape == found.array.shape


@pytest.mark.parametrize("stored", [np.uint8, np.int16, np.int32])
def test_scaled_values_are_nibabels(tmp_path, stored):
    values = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32) * 40
    path = write(tmp_path / "a.nii.gz", values, dtype=stored)
    found = read_nifti(path).array
    assert found.dtype == np.float32
    assert np.array_equal(found, nibabel.load(path).get_fdata(dtype=np.float32))


def test_every_changed_byte_is_noticed(tmp_path, volume):
    """All bytes behind the gzip header, each changed once; `gzip -t` (the gzip module) notices them all, too."""
    path = write(tmp_path / "a.nii.gz", volume[:6, :5, :4])
    content = path.read_bytes()
    whole, noticed = gzip.decompress(content), 0
    start = content.index(b"\0", 10) + 1 if content[3] & 8 else 10
    for place in range(start, len(content)):
        spoiled = bytearray(content)
        spoiled[place] ^= 0x10
        path.write_bytes(bytes(spoiled))
        try:
            assert gzip.decompress(bytes(spoiled)) == whole  # padding bits behind the last block
            continue
        except (OSError, EOFError, zlib.error):
            noticed += 1
        for read in (read_nifti, read_label_file, check_gzip):
            with pytest.raises(InputError, match=r"a\.nii\.gz"):
                read(path)
    assert noticed > 0.95 * (len(content) - start)


def test_streams_of_several_members_and_padding_are_whole(tmp_path, volume):
    path = write(tmp_path / "a.nii", volume)
    content = path.read_bytes()
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + bytes(512))
    assert np.array_equal(read_nifti(packed).array, volume)
    packed.write_bytes(gzip.compress(content) + b"garbage")
    with pytest.raises(InputError, match="cannot read image"):
        read_nifti(packed)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: c[:400], lambda c: c + c])
@pytest.mark.parametrize("packed", [False, True])
def test_another_length_than_the_header_says_is_refused(tmp_path, volume, change, packed):
    content = change(write(tmp_path / "a.nii", volume).read_bytes())
    path = tmp_path / ("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match="cannot read image"):
        read_nifti(path)


PIXDIM_FAULTS = {
    "set_zooms": (1, 1, 1),
    "swapped": (3, 1.5, 1.5),
    "zero": (0, 0, 0),
    "nan": (np.nan, 1.5, 3),
    "infinite": (1.5, np.inf, 3),
    "two percent": (1.53, 1.5, 3),
}


@pytest.mark.parametrize("pixdim", PIXDIM_FAULTS.values(), ids=list(PIXDIM_FAULTS))
def test_two_voxel_sizes_are_refused(tmp_path, volume, pixdim):
    path = edited(write(tmp_path / "a.nii.gz", volume), PIXDIM, struct.pack("<3f", *pixdim))
    for read in (read_nifti, read_grid, read_label_file):
        with pytest.raises(InputError, match="two voxel sizes"):
            read(path)


@pytest.mark.parametrize("third", [0.0, np.nan, 1.0])
def test_an_image_has_no_third_side(tmp_path, third):
    path = write(tmp_path / "a.nii", np.ones((4, 5), np.uint8), np.diag([0.5, 0.7, 1, 1]))
    grid = read_grid(edited(path, PIXDIM + 8, struct.pack("<f", third)))
    assert grid.shape == (4, 5) and grid.sides == pytest.approx((0.5, 0.7))


def test_rounded_and_negative_pixdim_are_the_same_size(tmp_path, volume):
    path = edited(write(tmp_path / "a.nii.gz", volume), PIXDIM, struct.pack("<3f", -1.5, 1.499, 3))
    assert read_grid(path).sides == pytest.approx((1.5, 1.5, 3.0), abs=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_an_affine_that_is_none_is_refused(tmp_path, volume, number):
    row = struct.pack("<4f", number, 0, 0, 30)  # the first row of the sform
    path = edited(write(tmp_path / "a.nii", volume), 280, row)
    with pytest.raises(InputError, match=r"the affine is no geometry|two voxel sizes"):
        read_grid(path)


@pytest.mark.parametrize(("code", "millimetres"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3), (2 | 8, 1)])
def test_units_are_millimetres(tmp_path, volume, code, millimetres):
    grid = read_grid(edited(write(tmp_path / "a.nii.gz", volume), UNITS, bytes([code])))
    assert np.allclose(grid.affine[:3], AFFINE[:3] * millimetres) and np.allclose(
        grid.sides, np.array([1.5, 1.5, 3]) * millimetres
    )


def test_an_unknown_unit_is_named(tmp_path, volume):
    with pytest.raises(InputError, match="unknown unit"):
        read_grid(edited(write(tmp_path / "a.nii.gz", volume), UNITS, bytes([5])))


@pytest.mark.parametrize(("scale", "found"), [((0, 5), (1, 0)), ((np.nan, 0), (1, 0)), ((2, 1), (2, 1))])
def test_scales(tmp_path, volume, scale, found):
    """The standard: a slope of 0 means that nothing is scaled; NaN likewise, in nibabel and niftilib."""
    path = edited(write(tmp_path / "a.nii.gz", volume), SLOPE, struct.pack("<2f", *scale))
    assert np.array_equal(read_nifti(path).array, volume * found[0] + found[1])


@pytest.mark.parametrize("scale", [(np.inf, 0), (1, np.nan), (-np.inf, 0)])
def test_scales_that_are_not_finite_are_named(tmp_path, volume, scale):
    with pytest.raises(InputError, match="scale is not finite"):
        read_nifti(edited(write(tmp_path / "a.nii.gz", volume), SLOPE, struct.pack("<2f", *scale)))


def sheared(share):
    """Unit axes of which the third leans towards the first."""
    affine = np.eye(4)
    affine[:3, 2] = np.array([share, 0, np.sqrt(1 - share**2)])
    return affine


def test_shear_bounds_the_error_of_distances():
    random = np.random.default_rng(0)
    for share in (0.0, 0.01, 0.2, 0.5):
        affine = sheared(share) @ np.diag([0.8, 2, 5, 1])
        steps = random.normal(size=(500, 3))
        along_axes = np.linalg.norm(steps * [0.8, 2, 5], axis=1)
        true = np.linalg.norm(steps @ affine[:3, :3].T, axis=1)
        assert np.abs(true / along_axes - 1).max() <= shear(affine) + 1e-12
    assert shear(AFFINE) < 1e-12


def test_sheared_volumes_are_read_up_to_a_bound(tmp_path, volume):
    path = write(tmp_path / "a.nii.gz", volume, sheared(0.05))
    assert np.allclose(read_nifti(path).grid.affine, sheared(0.05), atol=1e-6)
    assert shear(sheared(0.8)) > LARGEST_SHEAR
    with pytest.raises(InputError, match="sheared"):
        read_nifti(write(tmp_path / "b.nii.gz", volume, sheared(0.8)))


@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1), (4, 5, 1, 1)])
def test_axes_of_length_one_behind_the_third_are_left_out(tmp_path, shape):
    labels = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    path = write(tmp_path / "a.nii.gz", labels)
    assert np.array_equal(read_nifti(path).array, labels.reshape(shape[:3]))
    assert np.array_equal(read_label_file(path)[0], labels.reshape(shape[:3]))


@pytest.mark.parametrize("stored", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("largest", [1, 5, 13])
def test_float_labels_that_nibabel_stored_with_a_slope(tmp_path, stored, largest):
    labels = np.random.default_rng(0).integers(0, largest + 1, (8, 7, 6))
    path = write(tmp_path / "a.nii.gz", labels.astype(np.float64), dtype=stored)
    assert nibabel.load(path).dataobj.slope != 1
    found, _ = read_label_file(path)
    assert np.array_equal(found, labels) and found.dtype == np.uint8


@pytest.mark.parametrize("values", [[0, 0.9999], [0, 0.5], [0, np.nan], [-1, 2], [0, np.inf], [0, 2.0**23]])
def test_other_values_are_no_labels(tmp_path, values):
    array = np.resize(np.array(values, np.float32), (4, 4, 4))
    with pytest.raises(InputError, match="integers from 0"):
        read_label_file(write(tmp_path / "a.nii.gz", array))


def test_probabilities_stored_with_a_slope_are_no_labels(tmp_path):
    array = np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    with pytest.raises(InputError, match="integers from 0"):
        read_label_file(write(tmp_path / "a.nii.gz", array, dtype=np.uint8))


@pytest.mark.real_data
def test_real_files_are_read_as_nibabel_reads_them(real_data):
    paths = sorted(real_data("ACDC").rglob("*.nii.gz"))[::9]
    assert len(paths) > 5
    for path in paths:
        found, expected = read_nifti(path), nibabel.load(path)
        assert np.array_equal(found.array, np.asarray(expected.dataobj))
        assert found.grid.sides == tuple(map(float, expected.header.get_zooms()))
