"""The table component: DataTables as the wheel of itables ships it (MIT; parts MIT, icons ISC), embedded as text."""

from __future__ import annotations

import re
from importlib.resources import files

from benchmark.errors import InputError

EXPORTS = re.compile(r"export\s*\{([^{}]*)\}\s*;?")
NAME = "DataTable"


def table_component() -> tuple[str, str]:
    """Script and style sheet; the script gives `DataTable` to those after it, so that no module has to be loaded.

    Raises:
        InputError: itables is not installed, or its bundle is not what it was.
    """
    try:
        folder = files("itables") / "html"
        script = (folder / "dt_bundle.js").read_text(encoding="utf-8")
        style = (folder / "dt_bundle.css").read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise InputError(
            "the table component of the page is missing", found=error, remedy="install envs/train.lock"
        ) from None
    return _classic(script), style


def _classic(script: str) -> str:
    """The module as a plain script: its list of exports becomes an assignment."""
    lists = EXPORTS.findall(script)
    own = [part.split() for part in lists[0].split(",")] if len(lists) == 1 else []
    default = [words[0] for words in own if words[1:] == ["as", "default"]]
    if len(default) != 1 or "</script" in script:
        raise InputError("the bundle of itables is another than expected", expected="a module with a default export")
    assignment = f"globalThis.{NAME}={default[0]};"
    return "(() => {" + EXPORTS.sub(lambda _: assignment, script) + "\n})();"
