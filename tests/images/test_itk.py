"""MetaImage and NRRD against the same image as NIfTI, all written by SimpleITK: arrays, geometry, damage."""

from __future__ import annotations

from itertools import product

import nibabel
import numpy as np
import pytest
import SimpleITK

from benchmark.errors import InputError
from benchmark.images import itk, nifti
from benchmark.images.volumes import read_grid, read_volume

IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)
FLIPPED = (1, 0, 0, 0, -1, 0, 0, 0, -1)
PERMUTED = (0, 0, -1, 1, 0, 0, 0, -1, 0)
OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)
SPACING, ORIGIN = (0.7, 1.3, 5.0), (-31.7, 12.25, 400.1)
WRITTEN = list(product((".mha", ".nrrd"), (False, True)))


def image_of(array, direction=IDENTITY, spacing=SPACING, origin=ORIGIN):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def write(image, path, *, compressed=True):
    SimpleITK.WriteImage(image, str(path), compressed)
    return path


@pytest.fixture
def array():
    """[z, y, x], as SimpleITK has it."""
    return np.random.default_rng(0).integers(0, 90, (4, 6, 5)).astype(np.int16)


@pytest.mark.parametrize(("ending", "compressed"), WRITTEN)
@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, PERMUTED, OBLIQUE])
def test_a_volume_is_the_same_in_every_format(tmp_path, array, ending, compressed, direction):
    image = image_of(array, direction)
    reference = nifti.read_nifti(write(image, tmp_path / "a.nii.gz"))
    found = read_volume(write(image, tmp_path / f"a{ending}", compressed=compressed))
    assert np.array_equal(found.array, reference.array) and found.array.dtype == reference.array.dtype
    assert np.array_equal(found.array, array.transpose()) and found.array.flags.f_contiguous
    assert found.grid.shape == reference.grid.shape and found.grid.sides == reference.grid.sides
    tolerance = 1e-6 if direction == OBLIQUE else 0  # NIfTI's writer multiplies in float32
    assert np.allclose(found.grid.affine, reference.grid.affine, rtol=0, atol=tolerance)
    grid = read_grid(tmp_path / f"a{ending}")
    assert (grid.shape, grid.sides, grid.dtype) == (found.grid.shape, found.grid.sides, np.dtype(np.int16))


def test_the_world_is_nibabels(tmp_path, array):
    """ITK's first two axes of the world point the other way."""
    path = write(image_of(array, FLIPPED), tmp_path / "a.mha")
    expected = [[-0.7, 0, 0, 31.7], [0, 1.3, 0, -12.25], [0, 0, -5, 400.1], [0, 0, 0, 1]]
    assert np.allclose(read_grid(path).affine, expected, atol=1e-5)
    assert nibabel.aff2axcodes(read_grid(path).affine) == ("L", "A", "I")


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i4", "f4", "f8"])
def test_types_of_voxels(tmp_path, array, ending, kind):
    path = write(image_of(array.astype(kind)), tmp_path / f"a{ending}")
    assert read_volume(path).array.dtype == kind and read_grid(path).dtype == kind


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_pictures_films_and_channels_have_niftis_axes(tmp_path, array, ending):
    picture = SimpleITK.GetImageFromArray(array[0])
    picture.SetSpacing(SPACING[:2])
    film = SimpleITK.JoinSeries([image_of(array), image_of(array + 1)])
    channels = SimpleITK.Compose(image_of(array), image_of(array + 1))
    coloured = SimpleITK.Compose(picture, picture, picture)
    for image in (picture, film, channels, coloured):
        expected = nifti.read_nifti(write(image, tmp_path / "a.nii.gz"))
        found = read_volume(write(image, tmp_path / f"a{ending}"))
        assert found.grid.shape == expected.grid.shape and np.array_equal(found.array, expected.array)
        assert found.grid.sides == expected.grid.sides
        assert np.allclose(found.grid.affine, expected.grid.affine, rtol=0, atol=0)


@pytest.mark.parametrize("direction", [IDENTITY, PERMUTED])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_what_is_written_comes_back(tmp_path, array, ending, direction):
    given = read_volume(write(image_of(array, direction), tmp_path / "a.nii.gz"))
    itk.write_volume(tmp_path / f"b{ending}", given.array, given.grid.affine)
    found = read_volume(tmp_path / f"b{ending}")
    assert np.array_equal(found.array, given.array) and np.array_equal(found.grid.affine, given.grid.affine)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_damage_of_compressed_voxels_is_noticed(tmp_path, array, ending):
    """SimpleITK itself reads nine in ten of these without a word."""
    whole = write(image_of(array), tmp_path / f"a{ending}").read_bytes()
    path = tmp_path / f"b{ending}"
    for back in range(1, 60):
        spoiled = bytearray(whole)
        spoiled[-back] ^= 0x55
        path.write_bytes(bytes(spoiled))
        with pytest.raises(InputError, match=f"cannot read image|b{ending}"):
            read_volume(path)


@pytest.mark.parametrize(("ending", "compressed"), WRITTEN)
@pytest.mark.parametrize("change", [lambda whole: whole[:-3], lambda whole: whole + b"more"])
def test_shorter_and_longer_files_are_refused(tmp_path, array, ending, compressed, change):
    path = write(image_of(array), tmp_path / f"a{ending}", compressed=compressed)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match="cannot read image"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("a.mha", b"ElementDataFile = LOCAL", b"ElementDataFile = a.raw", "the voxels lie in another file"),
        ("a.nrrd", b"encoding: raw", b"data file: a.raw\nencoding: raw", "the voxels lie in another file"),
        ("a.mha", b"ElementSpacing = 1 1 5", b"ElementSpacing = 1 nan 5", "the affine is no geometry"),
        ("a.mha", b"ElementDataFile", b"ElementDatFile", "no MetaImage header"),
        ("a.nrrd", b"NRRD0004", b"PNG", "no NRRD header"),
        ("a.nrrd", b"sizes: 5 6 4", b"sizes: 5 6 400000", "bytes of voxels where the header says"),
    ],
)
def test_headers_that_are_refused(tmp_path, array, name, old, new, message):
    path = write(image_of(array, spacing=(1.0, 1.0, 5.0)), tmp_path / name, compressed=False)
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read_volume(path)
    assert name in str(caught.value)


def test_a_header_without_directions_is_that_of_the_identity(tmp_path, array):
    path = write(image_of(array), tmp_path / "a.mha", compressed=False)
    path.write_bytes(path.read_bytes().replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b""))
    assert b"TransformMatrix" not in path.read_bytes()
    assert nibabel.aff2axcodes(read_grid(path).affine) == ("L", "P", "S")
    assert read_grid(path).sides == tuple(np.float32(SPACING).tolist())


def test_endings_in_capitals_are_read(tmp_path, array):
    path = write(image_of(array), tmp_path / "a.mha").rename(tmp_path / "A.MHA")
    assert np.array_equal(read_volume(path).array, array.transpose())
