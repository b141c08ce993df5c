"""Figures on the page: circles against claims and compare.csv, pictures small and with their words, in a browser."""

from __future__ import annotations

import base64
import io
import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.page_host import WIDTHS, opened, write_host
from matplotlib.figure import Figure
from PIL import Image

from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.evidence.figures.bars import Bar, draw_bars
from benchmark.evidence.figures.bubbles import Bubble
from benchmark.evidence.figures.style import save_figure
from benchmark.files import csv_text, write_json, write_text
from benchmark.layout import Layout
from benchmark.page.bubble_plot import (
    HEIGHT,
    LARGEST,
    WIDTH,
    Range,
    axes_around,
    bubble_svg,
    log_ticks,
    ticks,
)
from benchmark.page.figure_pictures import LIMIT, embedded, figure_picture
from benchmark.page.figures import NOTHING_RUN, figures_section
from benchmark.page.section import Section

SPEED, FLOPS = "fig3b_speed_vs_dsc", "fig1_score_vs_flops"


def section(folder: Path, scale: str = "paper", *names: str, published_only: bool = False) -> Section:
    catalog = load_catalog()
    targets = [catalog.target(name) for name in names] or None
    return figures_section(catalog, Layout(str(folder)), scale, targets, published_only=published_only)


def views(html: str) -> dict[str, ElementTree.Element]:
    """Name of a view → its svg."""
    found = re.findall(r'data-view="(\w+)">.*?(<svg.*?</svg>)', html, flags=re.DOTALL)
    return {name: ElementTree.fromstring(svg) for name, svg in found}


def circles(svg: ElementTree.Element) -> dict[str, str]:
    """Label → what its circle says."""
    said = [group.get("aria-label", "") for group in svg.iter("g") if group.get("aria-label")]
    return {re.match(r"(.*) \((published|rebuilt|one coordinate.*)\): ", words)[1]: words for words in said}


def write_compare(folder: Path, lines: dict[tuple[str, str], tuple[str, str, str]]) -> None:
    """A table1_totalseg.compare.csv with these cells: value, and the ends of an interval."""
    rows = [["row", "column", "rebuilt", "interval_lower", "interval_upper"]]
    write_text(
        folder / "table1_totalseg.compare.csv", csv_text(rows + [[*place, *cell] for place, cell in lines.items()])
    )


REBUILT = {
    ("UNETR", "Overall"): ("70.1234", "68.5", "72.25"),
    ("UNETR", "Time (s)"): ("31.5", "", ""),
    ("Swin SMT (ours)", "Overall"): ("84.5", "", ""),
}


def test_published_circles_are_the_claims(tmp_path: Path) -> None:
    shown = section(tmp_path, "paper", SPEED, published_only=True)
    table = load_catalog().target("table1_totalseg")
    (name, svg), *others = views(shown.html).items()
    assert (name, others) == ("published", []) and NOTHING_RUN in unescape(shown.html)
    said = circles(svg)
    assert set(said) == set(table.rows)
    for row in table.rows:
        time, overall, size = (table.claim(row, column).value for column in ("Time (s)", "Overall", "Params (M)"))
        assert f"Overall DSC (%) {float(overall):g};" in said[row]
        assert f"Time (s) {float(time):g};" in said[row] and f"; {float(size):g} M parameters" in said[row]


def test_rebuilt_circles_are_those_of_compare_csv(tmp_path: Path) -> None:
    """With the interval of the file; a coordinate that was not rebuilt is the published one, and marked so."""
    write_compare(tmp_path, REBUILT)
    shown = section(tmp_path, "paper", SPEED)
    found = views(shown.html)
    assert list(found) == ["published", "rebuilt", "both"]
    said = circles(found["rebuilt"])
    assert set(said) == {"UNETR", "Swin SMT (ours)"}
    assert said["UNETR"] == (
        "UNETR (rebuilt): Overall DSC (%) 70.1234, interval 68.5 to 72.25; Time (s) 31.5; 102.02 M parameters"
    )
    assert said["Swin SMT (ours)"].startswith("Swin SMT (ours) (one coordinate rebuilt, the other as published): ")
    assert len(circles(found["published"])) == 12
    assert len([group for group in found["both"].iter("g") if group.get("aria-label")]) == 14
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", shown.html[shown.html.index("<tbody>") :])
    place = cells.index("UNETR")
    assert cells[place + 1 : place + 8] == ["70.88", "35", "102.02", "70.1234", "68.5 to 72.25", "31.5", "102.02"]


def test_an_interval_ends_where_the_axis_says(tmp_path: Path) -> None:
    """Two ticks give the scale of the axis; the ends of the interval lie on it."""
    write_compare(tmp_path, REBUILT)
    svg = views(section(tmp_path, "paper", SPEED).html)["rebuilt"]
    marks = {
        float(mark.text): float(mark.get("y")) - 4 for mark in svg.iter("text") if mark.get("text-anchor") == "end"
    }
    (low, low_y), (high, high_y) = min(marks.items()), max(marks.items())
    (path,) = [one.get("d") for one in svg.iter("path") if one.get("class") == "interval"]
    ends = [float(text) for text in re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", path).groups()]
    values = [low + (end - low_y) / (high_y - low_y) * (high - low) for end in ends]
    assert values == pytest.approx([68.5, 72.25], abs=0.01)


def test_areas_are_parameters_and_all_circles_are_inside() -> None:
    bubbles = [Bubble("a", 1, 10, 100), Bubble("b", 1000, 20, 25, "rebuilt", 15, 60)]
    axes = axes_around(bubbles, x_label="x", y_label="y", size_unit="M", log=True)
    svg = ElementTree.fromstring(bubble_svg(bubbles, axes, {"a": 1, "b": 2}, title="t & u", arrows=[("a", "b")]))
    radii = sorted(float(circle.get("r")) for circle in svg.iter("circle"))
    assert radii == [LARGEST / 2, LARGEST]
    assert all(0 < float(one.get("cx")) < WIDTH and 0 < float(one.get("cy")) < HEIGHT for one in svg.iter("circle"))
    kinds = [path.get("class") for path in svg.iter("path")]
    assert kinds.count("arrow") == 2 and kinds.count("line") == 0


def test_a_line_leads_from_the_published_to_the_rebuilt_circle() -> None:
    bubbles = [Bubble("a", 1, 10, 100), Bubble("b", 3, 12, 25), Bubble("a", 2, 20, 100, "rebuilt")]
    axes = axes_around(bubbles, x_label="x", y_label="y", size_unit="M", log=False)
    svg = ElementTree.fromstring(bubble_svg(bubbles, axes, {"a": 1, "b": 2}, title="t"))
    (line,) = [path.get("d") for path in svg.iter("path") if path.get("class") == "line"]
    rebuilt, *published = [(circle.get("cx"), circle.get("cy")) for circle in svg.iter("circle")]
    assert line == f"M{published[0][0]} {published[0][1]}L{rebuilt[0]} {rebuilt[1]}"
    groups = [group.get("class") for group in svg.iter("g") if group.get("class")]
    assert groups == ["bubble rebuilt twice", "bubble published twice", "bubble published"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((68, 87), [70, 75, 80, 85]), ((-3, 4), [-2, 0, 2, 4]),
     ((0.7011, 0.7034), [0.7015, 0.702, 0.7025, 0.703])],
)  # fmt: skip
def test_ticks_are_round_numbers(ends: tuple[float, float], expected: list[float]) -> None:
    assert ticks(Range(*ends)) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_axis() -> None:
    assert log_ticks(Range(3, 120)) == [5, 10, 20, 50, 100]


def test_a_demo_never_shows_scores_beside_published_ones(tmp_path: Path) -> None:
    write_compare(tmp_path, {**REBUILT, ("UNETR", "Overall"): ("12.5", "", "")})
    shown = section(tmp_path, "demo", SPEED)
    found = views(shown.html)
    assert list(found) == ["published", "rebuilt"] and "demo scale, not comparable" in shown.html
    assert not any("published)" in words for words in circles(found["rebuilt"]).values() if "UNETR" in words)
    low = min(float(mark.text) for mark in found["published"].iter("text") if mark.get("text-anchor") == "end")
    assert low >= 70  # the demo's 12.5 does not stretch the published axis


def test_means_over_tables_come_without_an_interval(tmp_path: Path) -> None:
    shown = section(tmp_path, "paper", FLOPS)
    catalog = load_catalog()
    tables = [catalog.target(name) for name in ("table1_abdomenmri", "table2_endoscopy", "table3_microscopy")]
    scores = [
        table.claim("nnU-Net", column).value.split("±")[0]
        for table, column in zip(tables, ("DSC", "DSC", "F1"), strict=True)
    ]
    mean = np.mean([float(score) for score in scores])
    said = circles(views(shown.html)["published"])["nnU-Net"]
    assert f" {mean:.7g}; GFLOPs, mean over the three datasets " in said
    assert "a mean over tables has no interval" in shown.html
    assert "rebuilt: not drawn (no row of the table has been rebuilt)" in shown.html


# Pictures


def draw(layout: Layout, name: str, figure: Figure) -> None:
    save_figure(figure, layout.figure(name))
    write_json(layout.made(name), {"made": {}, "code_version": "0.1.0 abcdef"})


def test_a_figure_is_a_small_picture_with_its_words_and_its_stamp(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    draw(layout, "fig6_blocks", draw_bars({"DSC": {"VSS & more": {"rebuilt": Bar(0.5)}}}, y_label="score", demo=True))
    shown = section(tmp_path, "demo", "fig6_blocks").html
    found = figure_picture(layout, load_catalog().target("fig6_blocks"))
    assert found.reason == "" and "VSS & more" in found.words and "demo scale, not comparable" in found.words
    assert "drawn by Retable 0.1.0 abcdef" in shown and found.source in shown and "VSS &amp; more" in shown
    picture = Image.open(io.BytesIO(base64.b64decode(found.source.removeprefix("data:image/webp;base64,"))))
    assert picture.size == found.size
    drawn = Image.open(layout.figure("fig6_blocks")[1]).convert("RGB").resize(picture.size)
    assert np.abs(np.asarray(picture.convert("RGB"), float) - np.asarray(drawn, float)).mean() < 3


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1500, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    source, (width, height) = embedded(tmp_path / "noise.png")
    assert (width, height) == (600, 400) and len(source) < 2 * LIMIT


def test_a_figure_that_is_not_drawn_says_why(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    shown = unescape(section(tmp_path, "demo", "fig7_receptive_field").html)
    assert f"not drawn ({layout.figure('fig7_receptive_field')[1]} has not been made; " in shown
    words = ["figure", "fig7_receptive_field", "--scale", "demo", "--results", str(tmp_path), "--scores"]
    assert main(words) == 0
    found = figure_picture(layout, load_catalog().target("fig7_receptive_field"))
    assert (found.source, found.reason) == ("", "not run")
    assert "not drawn (not run)" in section(tmp_path, "demo", "fig7_receptive_field").html


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_figure_is_told_with_its_file(tmp_path: Path, damaged: int) -> None:
    layout = Layout(str(tmp_path))
    draw(layout, "fig6_blocks", draw_bars({"DSC": {"a": {"rebuilt": Bar(0.5)}}}, y_label="score"))
    path = Path(layout.figure("fig6_blocks")[damaged])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=path.name):
        section(tmp_path, "demo", "fig6_blocks")


def test_every_figure_of_the_catalog_is_there(tmp_path: Path) -> None:
    shown = section(tmp_path)
    figures = [target for target in load_catalog().targets.values() if target.kind == "figure"]
    assert re.findall(r'<article class="figure" id="figures/(\w+)"', shown.html) == [one.target for one in figures]
    assert len(shown.html) < 100_000


# In the browser


@pytest.mark.parametrize("width", WIDTHS)
def test_views_and_words_answer_to_mouse_and_keyboard(tmp_path: Path, width: int) -> None:
    write_compare(tmp_path, REBUILT)
    draw(Layout(str(tmp_path)), "fig6_blocks", draw_bars({"DSC": {"a": {"rebuilt": Bar(0.5)}}}, y_label="score"))
    host = write_host(section(tmp_path, "paper", SPEED, FLOPS, "fig6_blocks"), tmp_path / "figures.html")
    with opened(host, width=width) as page:
        article = page.locator(f'[id="figures/{SPEED}"]')
        shown = article.locator(".figure-view:visible")
        readout = article.locator(".figure-readout")
        assert shown.get_attribute("data-view") == "rebuilt"
        article.get_by_label("published", exact=True).check()
        assert shown.get_attribute("data-view") == "published"
        shown.locator(".bubble.marked").hover()
        assert readout.inner_text().startswith("Swin SMT (ours) (published): Overall DSC (%) 85.09")
        before = readout.inner_text()
        shown.locator(".bubble").first.focus()
        page.keyboard.press("Tab")
        assert readout.inner_text() != before
        assert page.evaluate("document.querySelector('.figure img').naturalWidth") > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
