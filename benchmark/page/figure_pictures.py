"""Figures that the workflow drew, as pictures for the page: small enough to embed, and with their words as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from PIL import Image

from benchmark.catalog.targets import Target
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.layout import Layout

WIDTHS = (1400, 1100, 800, 600)  # pixels: the widest of these that stays below the limit
LIMIT = 90_000  # bytes of one picture
QUALITY = 80
NOT_ATTEMPTED = "not attempted ("
SVG = "{http://www.w3.org/2000/svg}"


class FigurePicture(NamedTuple):
    """A figure as the page shows it.

    Attributes:
        source: data address of the picture; empty where there is none.
        size: width and height of the picture in pixels.
        words: everything that is written in the figure, which a search of the page then finds.
        reason: why it is not drawn; empty where it is.
        stamp: version of the code that drew it.
    """

    source: str = ""
    size: tuple[int, int] = (0, 0)
    words: str = ""
    reason: str = ""
    stamp: str = ""


def figure_picture(layout: Layout, target: Target) -> FigurePicture:
    """The figure of a target from the files that `python -m benchmark figure` wrote.

    Raises:
        InputError: one of them is damaged.
    """
    svg, png, _ = map(Path, layout.figure(target.target))
    if not (svg.is_file() and png.is_file()):
        return FigurePicture(reason=f"{png} has not been made; python -m benchmark figure {target.target}")
    words = list(_texts(svg))
    stamp = _stamp(Path(layout.made(target.target)))
    reasons = [text for text in words if text.startswith(NOT_ATTEMPTED)]
    if reasons:
        return FigurePicture(reason=reasons[0].removeprefix(NOT_ATTEMPTED).removesuffix(")"), stamp=stamp)
    source, size = embedded(png)
    return FigurePicture(source, size, "; ".join(dict.fromkeys(words)), stamp=stamp)


def embedded(path: Path) -> tuple[str, tuple[int, int]]:
    """A picture as a data address of about 4/3 · `LIMIT` characters, and its size: WebP, made smaller if need be.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise InputError(
            "a picture of a figure is damaged", where=path, found=error, remedy="delete it and draw it again"
        ) from None
    for width in WIDTHS:
        fitted = picture.copy()
        fitted.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        fitted.save(stream, "WEBP", quality=QUALITY, method=4)
        if stream.tell() <= LIMIT:
            break
    return data_address(stream.getvalue(), "image/webp"), fitted.size


def data_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _texts(path: Path) -> Iterator[str]:
    """What is written in a figure, each piece whole: matplotlib groups the lines of a text."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise InputError(
            "the picture of a figure is damaged", where=path, found=error, remedy="delete it and draw it again"
        ) from None
    for group in root.iter(f"{SVG}g"):
        if group.get("id", "").startswith("text_"):
            lines = [" ".join("".join(text.itertext()).split()) for text in group.iter(f"{SVG}text")]
            yield " ".join(line for line in lines if line)


def _stamp(record: Path) -> str:
    return str(read_json(record).get("code_version", "")) if record.is_file() else ""
