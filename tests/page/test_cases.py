"""Cases on the page: outlines against hand-made masks, numbers against the score files, tests against scipy."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas
import pytest
from helpers.case_results import RUNS, block, case_values, write_case_results
from helpers.page_host import WIDTHS, opened, write_host
from helpers.simulated_scores import write_scores
from PIL import Image
from scipy import stats

from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.evidence.scores import read_scores
from benchmark.evidence.significance import compare_pairs, compare_rows
from benchmark.evidence.table import current_scores
from benchmark.files import read_json, write_json
from benchmark.layout import Layout
from benchmark.page import cases as cases_module
from benchmark.page.case_scores import ranked, shown_cases
from benchmark.page.cases import cases_section
from benchmark.page.draw_cases import middle_slice
from benchmark.page.numbers import number, rounded
from benchmark.page.outlines import BOTH, GREYS, LONGER_SIDE, PREDICTION, REFERENCE, draw_outlines, outline
from benchmark.page.pairs import PAIR
from benchmark.page.section import Section

TABLE = "table1_totalseg"
SIGNS = {REFERENCE: "r", PREDICTION: "p", BOTH: "b"}


def drawn(image: Image.Image) -> list[str]:
    """A picture as lines: r, p, b where it has the colour of an outline, else a point."""
    pixels = np.asarray(image.convert("RGB"))
    return ["".join(SIGNS.get(tuple(pixel), ".") for pixel in line) for line in pixels.tolist()]


def mask(*lines: str) -> np.ndarray:
    return np.array([[int(sign) for sign in line] for line in lines], np.uint8)


def test_outlines_of_hand_made_masks() -> None:
    """Reference and prediction, one pixel apart: the inside stays free, shared pixels have a colour of their own."""
    reference = mask("000000", "011100", "011100", "011100", "000000")
    prediction = mask("000000", "001110", "001110", "001110", "000000")
    picture = draw_outlines(np.arange(30.0).reshape(5, 6), reference, prediction, longer_side=6)
    assert drawn(picture) == ["......", ".rbbp.", ".rprp.", ".rbbp.", "......"]
    alone = draw_outlines(np.arange(30.0).reshape(5, 6), reference, None, longer_side=6)
    assert drawn(alone) == ["......", ".rrr..", ".r.r..", ".rrr..", "......"]


def test_touching_structures_have_a_border_and_the_image_has_none() -> None:
    labels = mask("1122", "1122", "1122")
    assert outline(labels).tolist() == [[False, True, True, False]] * 3
    instances = np.array([[70000, 70001]], np.int64)  # more than 16 bits
    assert outline(instances).all()


def test_a_picture_has_the_proportions_of_the_body_and_few_colours() -> None:
    grey = np.random.default_rng(0).normal(0, 300, (10, 40))
    picture = draw_outlines(grey, np.zeros((10, 40), int), None, aspect=2.0)
    assert picture.size == (LONGER_SIDE, LONGER_SIDE // 2)
    colour = np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)
    labels = np.zeros((300, 200), int)
    labels[50:200, 50:150] = 1
    picture = draw_outlines(colour, labels, np.roll(labels, 20, axis=0))
    assert picture.size == (round(LONGER_SIDE / 1.5), LONGER_SIDE)
    assert len(picture.convert("RGB").getcolors()) <= GREYS + 3
    assert set("".join(drawn(picture))) == set(".rpb")


def test_a_flat_image_and_empty_labels_are_a_dark_picture() -> None:
    assert set("".join(drawn(draw_outlines(np.zeros((5, 5)), np.zeros((5, 5), int), None)))) == {"."}


@pytest.mark.parametrize(("filled", "middle"), [([2, 3, 4], 3), ([1, 5], 1), ([], 3)])
def test_the_middle_slice_is_one_that_has_a_structure(filled: list[int], middle: int) -> None:
    labels = np.zeros((2, 2, 7), np.uint8)
    labels[0, 0, filled] = 1
    assert middle_slice(labels) == middle


@pytest.mark.parametrize(
    ("count", "places"),
    [
        (0, {}),
        (1, {"a": "worst"}),
        (2, {"a": "worst", "b": "best"}),
        (4, {"a": "worst", "b": "", "c": "", "d": "best"}),
        (5, {"a": "worst", "c": "median", "e": "best"}),
    ],
)
def test_of_many_cases_three_are_shown(count: int, places: dict[str, str]) -> None:
    assert shown_cases(list("abcde")[:count]) == places


def test_the_worst_distance_is_the_largest() -> None:
    means = {"a": 2.0, "b": np.inf, "c": np.nan, "d": 1.0}
    assert ranked(means, "hd95") == ["b", "a", "d"]
    assert ranked(means, "dsc") == ["d", "a", "b"]


# A results folder


def draw(layout: Layout, run: str) -> Path:
    catalog = load_catalog()
    out = Path(layout.case_pictures(run))
    words = ["draw-cases", run, "--scale", "demo", "--store", layout.prepared_for(catalog.run(run, "demo"))]
    words += ["--source", layout.source("totalseg"), "--predictions", layout.predictions_of(run)]
    assert main([*words, "--scores", layout.scored(run), "--out", str(out)]) == 0
    return out


def section(layout: Layout) -> Section:
    catalog = load_catalog()
    scores, outdated = current_scores(catalog, layout, "demo", read_scores(layout.scored(run) for run in RUNS))
    return cases_section(
        catalog, layout, "demo", catalog.papers["swin_smt"].targets.values(), scores=scores, outdated=outdated
    )


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    found = write_case_results(tmp_path_factory.mktemp("cases"))
    draw(found, RUNS[0])
    return found


def test_pictures_of_the_worst_the_median_and_the_best_case(layout: Layout) -> None:
    record = read_json(layout.case_pictures(RUNS[0]))
    means = dict(zip([f"s{k:04d}" for k in range(5)], case_values(5, 0).mean(axis=1), strict=True))
    order = sorted(means, key=means.__getitem__)
    expected = {order[0]: "worst", order[2]: "median", order[4]: "best"}
    assert {one["case"]: one["place"] for one in record["pictures"]} == expected
    assert record["cases"] == 5 and [one["slice"] for one in record["pictures"]] == [2, 2, 2]
    assert {one["case"]: one["predicted"] for one in record["pictures"]} == {case: case != "s0004" for case in expected}
    sizes = [(Path(layout.case_pictures(RUNS[0])).parent / one["file"]).stat().st_size for one in record["pictures"]]
    assert max(sizes) < 12_000


def test_a_picture_shows_the_outlines_where_the_labels_are(layout: Layout) -> None:
    """Slice 2 as radiologists look at it, 17.6 times as large: every pixel has the label of the voxel it lies in."""
    one = read_json(layout.case_pictures(RUNS[0]))["pictures"][0]
    picture = Image.open(Path(layout.case_pictures(RUNS[0])).parent / one["file"])
    pixels = np.array([list(line) for line in drawn(picture)])
    planes = [np.flip(block(shift)[:, :, 2].T, axis=0) for shift in (0, 1)]  # front up
    places = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(pixels.shape, planes[0].shape, strict=True)]
    here, there = (plane[np.ix_(*places)] > 0 for plane in planes)
    bounds = [
        {name: (found.min(), found.max()) for name, found in zip("yx", np.nonzero(inside), strict=True)}
        for inside in (here, there)
    ]
    for signs, expected in zip(("rb", "pb"), bounds, strict=True):
        rows, columns = np.nonzero(np.isin(pixels, list(signs)))
        assert {"y": (rows.min(), rows.max()), "x": (columns.min(), columns.max())} == expected
    assert not np.isin(pixels[~(here | there)], list("rpb")).any()


def test_every_number_is_that_of_the_score_file(layout: Layout) -> None:
    shown = section(layout)
    assert [entry["run"] for entry in shown.data["runs"]] == list(RUNS)
    for entry in shown.data["runs"]:
        frame = pandas.read_parquet(layout.scored(entry["run"]))
        (measure,) = entry["measures"]
        table = frame.pivot(index="case", columns="class", values="value")
        assert measure["cases"] == list(table.index) and set(measure["structures"]) == set(table.columns)
        for name, values in zip(measure["structures"], measure["values"], strict=True):
            np.testing.assert_allclose(values, table[name], atol=5e-5)
        means = table.mean(axis=1)
        np.testing.assert_allclose(measure["means"], means, atol=5e-5)
        assert (measure["worst"], measure["best"]) == (means.idxmin(), means.idxmax())
    assert "Table 1: UNETR" in shown.data["runs"][1]["rows"]


def test_pairs_have_the_test_and_the_effect_of_the_significance_tables(layout: Layout) -> None:
    entry = next(entry for entry in section(layout).data["tables"] if entry["target"] == TABLE)
    assert (entry["column"], list(entry["rows"])) == ("Overall", ["UNETR", "Swin SMT (ours)"])
    ours, other = (case_values(5, seed).mean(axis=1) * 100 for seed in (0, 1))
    np.testing.assert_allclose(entry["rows"]["UNETR"], other, atol=5e-5)
    (pair,) = (dict(zip(PAIR, values, strict=True)) for values in entry["pairs"])
    difference = other - ours
    assert pair["difference"] == pytest.approx(difference.mean(), abs=5e-5) and pair["n"] == 5
    assert pair["wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue, rel=1e-3)
    assert pair["cohen_dz"] == pytest.approx(difference.mean() / difference.std(ddof=1), rel=1e-3)
    assert pair["higher"] == pytest.approx((difference > 0).mean())


def test_all_pairs_are_the_comparisons_of_every_row() -> None:
    """As `compare_rows` against each row; p is adjusted for six pairs in place of three."""
    generator = np.random.default_rng(3)
    per_case = {row: dict(zip("uvwxyz", generator.normal(place, 1, 6).tolist(), strict=True))
                for place, row in enumerate("abcd")}  # fmt: skip
    pairs = compare_pairs(per_case)
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")
    ]  # fmt: skip
    report = compare_rows(per_case, against="a", test="wilcoxon", threshold=0.05, starred=[])
    for pair, comparison in zip(pairs, report.comparisons, strict=False):
        assert pair.wilcoxon == comparison.wilcoxon and pair.effect == comparison.effect
        assert pair.wilcoxon_holm >= comparison.wilcoxon_holm
    smallest = min(pair.permutation.p for pair in pairs)
    assert min(pair.permutation_holm for pair in pairs) == pytest.approx(min(1, 6 * smallest))
    assert compare_pairs({"a": {"x": 1.0}}) == []


def test_pictures_are_embedded_whole(layout: Layout) -> None:
    first, second = section(layout).data["runs"]
    record = read_json(layout.case_pictures(RUNS[0]))["pictures"]
    assert [one["place"] for one in first["pictures"]] == ["worst", "median", "best"]
    picture = first["pictures"][0]
    content = base64.b64decode(picture["image"].removeprefix("data:image/png;base64,"))
    file = next(one["file"] for one in record if one["case"] == picture["case"])
    assert content == (Path(layout.case_pictures(RUNS[0])).parent / file).read_bytes()
    assert first["note"] == "3 of 5 cases: the worst, the median one and the best by mean dsc"
    assert second["pictures"] == [] and second["note"].startswith("no pictures yet: snakemake ")


def test_what_has_no_room_is_left_out_and_said(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case of every run comes first."""
    record = {one["place"]: one for one in read_json(layout.case_pictures(RUNS[0]))["pictures"]}
    worst = Path(layout.case_pictures(RUNS[0])).parent / record["worst"]["file"]
    monkeypatch.setattr(cases_module, "PICTURE_BYTES", worst.stat().st_size)
    entry = section(layout).data["runs"][0]
    assert [one["place"] for one in entry["pictures"]] == ["worst"]
    assert entry["note"].startswith("2 pictures left out, to keep this page small; they are in ")


def test_what_is_missing_says_why(tmp_path: Path) -> None:
    layout = write_case_results(tmp_path)
    old = Path(layout.scored(RUNS[1]))
    write_scores(old, RUNS[1], case_values(5, 1), config_digest="0123456789abcdef")
    draw(layout, RUNS[0])
    write_json(layout.scores_record(RUNS[0]), {"made": {"predictions": "others", "code.score": 1}})
    shown = section(layout)
    assert [entry["run"] for entry in shown.data["runs"]] == [RUNS[0]] and shown.data["tables"] == []
    assert "made with other settings: configuration 0123456789abcdef, now " in shown.html
    assert "not run: " in shown.html and "swin_smt/totalseg/nnformer/seed0" in shown.html
    assert shown.data["runs"][0]["note"].startswith("its pictures were drawn for other scores and are not shown")
    assert "demo scale, not comparable" in shown.html
    Path(layout.scores_record(RUNS[0])).unlink()
    assert section(layout).data["runs"][0]["note"] == cases_module.HANDED_IN


def test_without_any_scores_there_is_a_section_all_the_same(tmp_path: Path) -> None:
    catalog = load_catalog()
    shown = cases_section(catalog, Layout(str(tmp_path)), "demo", scores={})
    assert (
        shown.data == {"runs": [], "tables": [], "pair": PAIR}
        and "0 of " in shown.html
        and "cases-run" not in shown.html
    )


@pytest.mark.parametrize(
    ("value", "scores", "effects"),
    [(0.123456, 0.1235, 0.1235), (np.nan, None, None), (np.inf, "inf", "inf"), (1.23456e-9, 0.0, 1.235e-9)],
)
def test_numbers_for_json(value: float, scores: object, effects: object) -> None:
    assert (number(value), rounded(value)) == (scores, effects)


def test_another_runs_scores_are_refused(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["draw-cases", RUNS[1], "--scale", "demo", "--store", "prepared.json", "--source", "source.json"]
    words += ["--predictions", "x", "--scores", layout.scored(RUNS[0]), "--out", "x.json"]
    assert main(words) == 2
    assert RUNS[1] in capsys.readouterr().err


# In the browser


@pytest.mark.parametrize("width", WIDTHS)
def test_the_script_shows_runs_pictures_and_pairs(layout: Layout, width: int, tmp_path: Path) -> None:
    shown = section(layout)
    with opened(write_host(shown, tmp_path / "cases.html"), width=width) as page:
        first, second = shown.data["runs"]
        assert page.locator(".face img").count() == 3
        strips = page.locator("#cases-points .strip .track")
        assert strips.count() == 2 + len(first["measures"][0]["structures"])  # with the axis and the mean
        mean = strips.nth(1).locator("i")
        titles = [mean.nth(place).get_attribute("title") for place in range(mean.count())]
        assert titles == [f"s{k:04d}: {value}" for k, value in enumerate(first["measures"][0]["means"])]
        page.locator(".face").first.click()
        assert page.locator("#cases-points i.chosen.worst").count() == strips.count() - 1
        page.select_option("#cases-run", second["run"])
        assert page.url.endswith("#cases/" + second["run"].replace("/", "%2F"))
        assert page.locator(".face").count() == 0 and "no pictures yet" in page.locator("#cases-note").inner_text()
        pair = dict(zip(PAIR, shown.data["tables"][0]["pairs"][0], strict=True))
        words = page.locator("#cases-verdict").inner_text()
        assert f": {pair['difference']} points" in words and f"Wilcoxon p = {pair['wilcoxon']} " in words
        assert page.locator("#cases-differences i").count() == 5
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture = Image.open(io.BytesIO(page.screenshot()))
        assert picture.size[0] == width
