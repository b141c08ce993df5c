"""What PNG says of itself: depth, kind of colour, and a checksum per chunk that Pillow does not compare."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANIMATION = b"acTL"


@dataclass(frozen=True)
class PngFacts:
    """Bits per sample, and the kind of colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""

    depth: int
    colour: int


def check_png(path: Path) -> PngFacts:
    """Read every chunk and compare its checksum.

    Raises:
        ValueError: truncated, damaged, or an animation.
    """
    content = path.read_bytes()
    kinds: list[bytes] = []
    position = len(SIGNATURE)
    while position + 12 <= len(content) and (not kinds or kinds[-1] != b"IEND"):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if (
            end + 4 > len(content)
            or zlib.crc32(content[position + 4 : end]) != struct.unpack_from(">I", content, end)[0]
        ):
            raise ValueError(f"chunk at byte {position} is damaged")
        kinds.append(content[position + 4 : position + 8])
        position = end + 4
    if not kinds or kinds[0] != b"IHDR" or kinds[-1] != b"IEND":
        raise ValueError("the file ends early")
    if ANIMATION in kinds:
        raise ValueError("an animation of several pictures")
    _check_pixels(content, kinds)
    return PngFacts(depth=content[24], colour=content[25])


def _check_pixels(content: bytes, kinds: list[bytes]) -> None:
    """The chunks of pixels are one whole zlib stream; Pillow stops before its end."""
    stream, position = zlib.decompressobj(), len(SIGNATURE)
    for kind in kinds:
        (length,) = struct.unpack_from(">I", content, position)
        if kind == b"IDAT":
            stream.decompress(content[position + 8 : position + 8 + length])
        position += length + 12
    if not stream.eof:
        raise ValueError("the pixels end early")
