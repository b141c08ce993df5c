"""Pictures as a viewer shows them, in full depth; label pictures as stored; what has no one meaning is named."""

from __future__ import annotations

import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from benchmark.errors import InputError
from benchmark.images.labels import read_label_file
from benchmark.images.pictures import label_picture_shape, read_picture, read_picture_labels

GREY = np.random.default_rng(0).integers(0, 9, (21, 17)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (21, 17, 3)).astype(np.uint8)
FULL = np.full((21, 17), 255, np.uint8)


def saved(path, array, **options):
    if path.suffix.startswith(".tif"):
        tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    else:
        image = array if isinstance(array, Image.Image) else Image.fromarray(np.ascontiguousarray(array))
        image.save(path, **options)
    return path


@pytest.mark.parametrize("bands", [(GREY, FULL), (*COLOUR.transpose(2, 0, 1), FULL)])
def test_opaque_alpha_is_left_out_and_transparency_is_named(tmp_path, bands):
    colours = bands[0] if len(bands) == 2 else np.dstack(bands[:-1])
    assert np.array_equal(read_picture(saved(tmp_path / "a.png", np.dstack(bands))), colours)
    path = saved(tmp_path / "b.png", np.dstack([*bands[:-1], FULL - 55 * (GREY > 4)]).astype(np.uint8))
    with pytest.raises(InputError, match="transparent"):
        read_picture(path)


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_alpha_of_a_tiff(tmp_path, alpha):
    options = {"extrasamples": [alpha], "planarconfig": "contig"}
    grey = saved(tmp_path / "a.tif", np.dstack([GREY, FULL]), **options)
    assert np.array_equal(read_picture(grey), GREY)
    colour = saved(tmp_path / "b.tif", np.dstack([COLOUR, FULL]), **{**options, "photometric": "rgb"})
    assert np.array_equal(read_picture(colour), COLOUR)
    with pytest.raises(InputError, match="transparent"):
        read_picture(saved(tmp_path / "c.tif", np.dstack([GREY, FULL - 1]), **options))


def test_alpha_beside_labels_is_left_out_by_every_reader(tmp_path):
    png = saved(tmp_path / "a.png", np.dstack([GREY, FULL]))
    tiff = saved(tmp_path / "a.tif", np.dstack([GREY, FULL]), extrasamples=["unassalpha"], planarconfig="contig")
    for path in (png, tiff):
        assert np.array_equal(read_label_file(path)[0], GREY) and label_picture_shape(path) == GREY.shape
    with pytest.raises(InputError, match="transparent"):
        read_label_file(saved(tmp_path / "b.png", np.dstack([GREY, GREY])))


def test_sixteen_bits_of_colour_are_kept(tmp_path):
    deep = np.random.default_rng(2).integers(0, 2**16, (21, 17, 3)).astype(np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(deep))
    found = read_picture(path)
    assert found.dtype == np.uint16 and np.array_equal(found, deep)
    assert len(np.unique(np.asarray(Image.open(path)))) < len(np.unique(deep))  # what Pillow alone keeps
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(deep[..., 0])))
    assert np.array_equal(read_picture(path), deep[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_pictures_are_upright(tmp_path, orientation, suffix):
    path, smooth = tmp_path / f"a{suffix}", np.add.outer(np.arange(16), 3 * np.arange(24)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    if suffix == ".tif":
        saved(path, smooth, extratags=[(274, 3, 1, orientation, True)])
    else:
        saved(path, smooth, exif=exif)
    oracle = path if suffix != ".tif" else saved(tmp_path / "oracle.png", smooth, exif=exif)  # Pillow 13 garbles TIFF
    with Image.open(oracle) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_picture(path), expected)
    if suffix != ".jpg":
        assert np.array_equal(read_picture_labels(path), expected)
        assert label_picture_shape(path) == expected.shape


def test_a_palette_is_shown_in_colours_and_read_as_labels(tmp_path):
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [9, 9, 9]], np.uint8)
    indices = GREY % 4
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    path = saved(tmp_path / "a.png", image)
    assert np.array_equal(read_picture(path), colours[indices])
    assert np.array_equal(read_picture_labels(path), indices)
    table = np.zeros((3, 256), np.uint16)
    table[:, :4] = colours.T.astype(np.uint16) * 257
    path = saved(tmp_path / "a.tif", indices, photometric="palette", colormap=table)
    assert np.array_equal(read_picture(path), colours[indices]) and read_picture(path).dtype == np.uint8
    assert np.array_equal(read_picture_labels(path), indices)
    table[0, 1] += 1
    deep = read_picture(saved(tmp_path / "b.tif", indices, photometric="palette", colormap=table))
    assert np.array_equal(deep, table.T[indices]) and deep.dtype == np.uint16


@pytest.mark.parametrize(
    ("greys", "meant"), [([0, 1, 2], True), ([0, 127, 255], True), ([0, 2, 5], False), ([9, 0, 1], False)]
)
def test_a_palette_of_greys_has_to_be_plain(tmp_path, greys, meant):
    image = Image.fromarray(GREY % 3, "P")
    image.putpalette(np.repeat(np.array(greys, np.uint8), 3).tobytes())
    path = saved(tmp_path / "a.png", image)
    if meant:
        assert np.array_equal(read_picture_labels(path), GREY % 3)
    else:
        with pytest.raises(InputError, match="palette of greys"):
            read_picture_labels(path)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_labels_as_stored(tmp_path, bits):
    """A PNG written by hand: Pillow spreads 2 and 4 bits over eight, so that label 3 would be read as 255 or 51."""
    labels = GREY[:8, :8] % 2**bits
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in labels
    )
    header = (8).to_bytes(4, "big") * 2 + bytes([bits, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert np.array_equal(read_label_file(tmp_path / "a.png")[0], labels)
    assert np.array_equal(read_picture(tmp_path / "a.png"), labels * (255 // (2**bits - 1)))


def test_lossy_labels_are_named(tmp_path):
    for path in (saved(tmp_path / "a.jpg", GREY), (tmp_path / "a.jpg").rename(tmp_path / "b.png")):
        with pytest.raises(InputError, match="lossy"):
            read_label_file(path)
    path = saved(tmp_path / "a.tif", np.kron(GREY, np.ones((8, 8), np.uint8)), compression="jpeg")
    with pytest.raises(InputError, match="lossy"):
        read_label_file(path)
    assert read_picture(path).shape == (168, 136)


def test_white_is_zero(tmp_path):
    path = saved(tmp_path / "a.tif", GREY, photometric="miniswhite")
    assert np.array_equal(read_picture(path), 255 - GREY)
    with pytest.raises(InputError, match="0 is white"):
        read_label_file(path)


def test_stacks_animations_and_many_channels_are_no_pictures(tmp_path):
    with pytest.raises(InputError, match="not a picture"):
        read_picture(saved(tmp_path / "a.tif", np.stack([GREY] * 3)))
    with pytest.raises(InputError, match="not a picture"):
        read_picture(saved(tmp_path / "b.tif", np.dstack([GREY] * 5), planarconfig="contig"))
    frames = [Image.fromarray(GREY + step) for step in range(3)]
    frames[0].save(tmp_path / "c.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="animation"):
        read_picture(tmp_path / "c.png")
    with pytest.raises(InputError, match="one channel"):
        read_label_file(saved(tmp_path / "d.png", COLOUR))


def test_planar_colours_and_thumbnails(tmp_path):
    path = saved(tmp_path / "a.tif", COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_picture(path), COLOUR)
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        writer.write(COLOUR, photometric="rgb")
        writer.write(COLOUR[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_picture(tmp_path / "b.tif"), COLOUR)


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
def test_a_damaged_strip_is_named(tmp_path, compression):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = saved(tmp_path / "a.tif", noise, compression=compression)
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(bytes(content))
    for read in (read_picture, read_label_file):
        with pytest.raises(InputError, match=r"a\.tif"):
            read(path)


def test_every_changed_byte_of_a_png_is_noticed(tmp_path):
    path = saved(tmp_path / "a.png", GREY)
    content = path.read_bytes()
    for place in range(len(content)):
        spoiled = bytearray(content)
        spoiled[place] ^= 0x20
        path.write_bytes(bytes(spoiled))
        with pytest.raises(InputError, match=r"a\.png"):
            read_picture(path)
