"""One section of the page in a file of its own, and Debian's chromium to look at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmark.page.section import Section
from benchmark.page.templates import static

CHROMIUM = "/usr/bin/chromium"
WIDTHS = (1280, 390)  # pixels: a desk, a telephone


def write_host(section: Section, path: Path) -> Path:
    """The section with its data and script, as the whole page embeds them."""
    data = json.dumps(section.data, allow_nan=False).replace("<", "\\u003c")
    path.write_text(
        f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>One part</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body {{ font-family: sans-serif; max-width: 75rem; margin: auto; padding: 0 1rem }} [hidden] {{ display: none }}
</style></head><body><a id="skip" href="#main">Skip</a><nav><a href="#{section.identifier}">{section.title}</a></nav>
<main id="main"><section class="part" id="{section.identifier}"><h1>{section.title}</h1>{section.html}</section></main>
<script type="application/json" id="data-{section.identifier}">{data}</script>
<script>{static("page.js")}</script><script>(() => {{ {static(section.script)} }})();</script></body></html>""",
        encoding="utf-8",
    )
    return path


@contextmanager
def opened(path: Path, *, width: int = WIDTHS[0]) -> Iterator[Page]:
    """The file in the browser, without a network; fails on console errors and on requests that leave the file."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 900}, offline=True).new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: faults.append(asked.url) if asked.url.startswith("http") else None)
        page.goto(path.as_uri())
        yield page
        browser.close()
    assert not faults
