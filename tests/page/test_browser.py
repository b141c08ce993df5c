"""The page in a real browser: Debian's chromium without a screen and without a network."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from helpers.page_results import csv_lines
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmark.catalog.catalog import load_catalog

pytestmark = pytest.mark.xdist_group("page")

CHROMIUM = shutil.which("chromium")
WIDTHS = (1280, 390)
SLOWEST = 20  # seconds until the page can be used, on a machine that runs other tests beside
PARTS = ("start", "tables", "claims", "figures", "cases", "audit", "ledger", "budget")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        absent = "no chromium: apt-get install --no-install-recommends chromium"
        pytest.fail(absent) if os.environ.get("RETABLE_REQUIRE_BROWSER") else pytest.skip(absent)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What the page wrote to the console, and every address that it asked for."""
    return []


@pytest.fixture(scope="module")
def page(browser: Browser, results: Path, said: list[str]) -> Page:
    """The open page, with the network cut."""
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, offline=True)
    context.set_default_timeout(10_000)
    opened = context.new_page()
    opened.on("console", lambda message: said.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.on("request", lambda request: said.append(f"request: {request.url}"))
    start = time.monotonic()
    opened.goto((results / "index.html").as_uri())
    expect(opened.locator("nav a[aria-current]")).to_have_text("Start")
    print(f"page usable after {time.monotonic() - start:.2f} s")
    assert time.monotonic() - start < SLOWEST
    return opened


@pytest.fixture
def at(page: Page, results: Path):
    """Go to an address inside the page."""

    def go(address: str) -> Page:
        page.goto(f"{(results / 'index.html').as_uri()}#{address}")
        return page

    return go


def test_the_start_leads_to_a_table(at) -> None:
    page = at("start")
    expect(page.locator(".card")).to_have_count(len(load_catalog().papers))
    page.locator(".card", has_text="Swin SMT").get_by_role("link", name="Table 1", exact=True).click()
    expect(page.get_by_role("heading", name="Swin SMT against eleven networks")).to_be_visible()
    expect(page.locator(".target:visible")).to_have_count(1)
    page.get_by_label("Table", exact=True).select_option("table2_experts")
    expect(page.locator(".target:visible h2")).to_contain_text("Number of experts")
    assert page.url.endswith("#tables/table2_experts")


def test_a_cell_opens_what_it_rests_on(at, results) -> None:
    page = at("tables/table1_totalseg")
    page.locator(".target:visible tr", has_text="UNETR").first.locator("td a").last.click()
    panel = page.get_by_role("dialog")
    expect(panel).to_be_visible()
    line = next(line for line in csv_lines(results / "table1_totalseg.compare.csv")
                if (line["row"], line["column"]) == ("UNETR", "Overall"))  # fmt: skip
    for text in (line["rebuilt"], line["delta"], line["band_source"], line["verdict"], "70.88 (*)",
                 "snakemake results/table1_totalseg.csv",
                 "explain table1_totalseg 'UNETR' 'Overall'", "Section 3, Implementation details"):  # fmt: skip
        expect(panel).to_contain_text(text)
    assert line["verdict"] == "below"
    link = panel.get_by_role("link", name="scores")
    assert (results / link.get_attribute("href")).is_file()
    panel.get_by_role("button", name="Copy").first.click()
    expect(panel.get_by_role("button", name="Cop").first).not_to_have_text("Copy")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert page.url.endswith("#tables/table1_totalseg")


def test_a_panel_leads_to_the_ledger_and_back(at) -> None:
    page = at("tables/table1_totalseg/nnU-Net/Params%20(M)")
    entry = page.get_by_role("dialog").locator("a[href^='#ledger/']").first
    subject = entry.inner_text()
    entry.click()
    expect(page.locator("#ledger h3", has_text=subject).first).to_be_in_viewport()
    page.locator("#ledger input").click()  # what a panel left open would forbid
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_filters_stand_in_the_address_and_their_rows_can_be_downloaded(at, results, tmp_path) -> None:
    page = at("claims")
    page.locator("select[name=verdict]").select_option("below")
    page.locator("select[name=paper]").select_option("Swin SMT")
    assert page.url.endswith("#claims?paper=Swin+SMT&verdict=below")
    rows = page.locator("#claims-table tbody tr")
    below = [line for target in ("table1_totalseg", "table2_experts")
             for line in csv_lines(results / f"{target}.compare.csv") if line["verdict"] == "below"]  # fmt: skip
    expect(rows).to_have_count(len(below))
    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()
    started.value.save_as(tmp_path / "claims.csv")
    found = csv_lines(tmp_path / "claims.csv")
    assert [(line["row"], line["column"], line["rebuilt"], line["delta"], line["verdict"]) for line in found] == [
        (line["row"], line["column"], line["rebuilt"], line["delta"], "below") for line in below
    ]
    page.reload()  # as a reader who was sent the address
    expect(rows).to_have_count(len(below))
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#claims-shown")).to_have_text("900 of 900 shown.")


@pytest.mark.parametrize("word", ["UNETR", "70.88"])
def test_a_word_finds_its_numbers(word: str, at) -> None:
    page = at("claims")
    page.get_by_label("search").fill(word)
    first = page.locator("#claims-table tbody tr").first
    expect(first).to_contain_text(word)
    assert unquote_plus(page.url).endswith(f"#claims?search={word}")
    page.locator("#claims-table tbody a").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")


def test_a_column_sorts_by_its_numbers(at) -> None:
    page = at("claims?verdict=below&paper=Swin+SMT")
    heading = page.get_by_role("columnheader", name="Delta")
    heading.click()
    heading.click()
    texts = page.locator("#claims-table tbody tr td:nth-child(7)").all_inner_texts()
    values = [float(text) for text in texts]
    assert values == sorted(values, reverse=values[0] > values[-1]) and len(set(values)) >= 5


def test_the_audit_finds_a_word(at) -> None:
    page = at("audit")
    everything = page.locator("#audit .finding").count()
    page.locator("#audit input").fill("nnU-Net")
    shown = page.locator("#audit .finding:visible")
    assert 0 < shown.count() < everything
    groups = page.locator("#audit details:visible")
    assert all(group.locator(".finding:visible").count() for group in groups.all())
    assert all("nnu-net" in text.lower() for text in shown.evaluate_all("all => all.map((one) => one.textContent)"))


def test_the_keyboard_alone_reaches_a_cell(at) -> None:
    page = at("tables/table1_totalseg")
    page.locator(".target:visible .scroll").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="UNETR, Params (M)")).to_be_visible()
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".target:visible td a").first).to_be_focused()


def test_a_verdict_is_read_aloud_and_has_a_sign(at) -> None:
    page = at("tables/table1_totalseg")
    link = page.locator(".target:visible tr", has_text="UNETR").first.locator("td a").last
    assert " ".join(link.text_content().split()).startswith(csv_value(link) + " ▼")
    expect(page.get_by_role("link", name="below, published 70.88")).to_have_count(1)


def csv_value(link) -> str:
    return link.locator(".rebuilt").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_part_fits_the_width(width: int, scheme: str, at, page, artefacts) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for address in (*PARTS, "tables/table1_totalseg/UNETR/Overall"):
        at(address)
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        if address in PARTS:
            assert page.evaluate("scrollY") == 0, f"{address}: the navigation is out of sight"
        page.screenshot(path=artefacts / f"{address.replace('/', '-')}-{scheme}-{width}.png")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory) -> Path:
    """RETABLE_ARTEFACTS, where screenshots are kept to be looked at; else a temporary folder."""
    folder = Path(os.environ.get("RETABLE_ARTEFACTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_printed_it_shows_every_claim(at, page, artefacts) -> None:
    at("claims?paper=Swin+SMT")
    lines = int(page.locator("#claims-shown").inner_text().split()[0])
    page.pdf(path=artefacts / "claims.pdf")  # tells the page that it is printed
    assert lines > 50 and (artefacts / "claims.pdf").stat().st_size > 10_000
    page.emulate_media(media="print")
    expect(page.locator("header nav")).to_be_hidden()
    page.emulate_media(media="screen")


def test_an_address_that_was_cut_shows_something(at) -> None:
    for address in ("%", "nowhere", "tables/none/x/y", "claims?verdict=none"):
        page = at(address)
        expect(page.locator("main > section:visible")).to_have_count(1)


def test_nothing_was_asked_of_the_network_or_said_on_the_console(page, said, results) -> None:
    """After everything above."""
    own = (results / "index.html").as_uri()
    allowed = (f"request: {own}", "request: data:", "request: blob:")
    assert said and not [line for line in said if not line.startswith(allowed)]
