"""The page's HTML: templates beside this file, in which every value is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import quote

import jinja2

FOLDER = Path(__file__).parent


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["address"] = address
    return environment


def render(template: str, **values: object) -> str:
    """A template of templates/ with its values; one that is missing is an error."""
    return _environment().get_template(template).render(**values)


def address(*parts: str) -> str:
    """Where in the page something is: "#tables/table1_totalseg/UNETR/Overall", names percent-encoded."""
    return "#" + "/".join(quote(part, safe="") for part in parts)


def static(name: str) -> str:
    """Text of a file of static/."""
    return (FOLDER / "static" / name).read_text(encoding="utf-8")
