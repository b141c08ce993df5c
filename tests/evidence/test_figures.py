from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from matplotlib.patches import PathPatch

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.published import parse_published
from benchmark.errors import InputError
from benchmark.evidence.figures.bars import Bar, draw_bars
from benchmark.evidence.figures.bubbles import Bubble, draw_bubbles
from benchmark.evidence.figures.curves import Curve, draw_curves, smooth
from benchmark.evidence.figures.labels import Anchor, place_labels
from benchmark.evidence.figures.qualitative import Panel, best_slice, colours_of, draw_panels
from benchmark.evidence.figures.reason import draw_reason
from benchmark.evidence.figures.receptive_field import draw_receptive_fields, side_holding
from benchmark.evidence.figures.style import DEMO_NOTE, add_axes, new_figure, save_figure
from benchmark.evidence.figures.subgroups import draw_subgroups

TABLE = load_catalog().target("table1_totalseg")
RANDOM = np.random.default_rng(0)
CURVE = Curve([0, 1, 2], [3.0, np.nan, 1.0])


def published_bubbles() -> list[Bubble]:
    def number(row: str, column: str) -> float:
        return float(parse_published(TABLE.claim(row, column).value).value)

    return [
        Bubble(row, number(row, "Time (s)"), number(row, "Overall"), number(row, "Params (M)")) for row in TABLE.rows
    ]


def panel() -> Panel:
    labels = np.zeros((24, 30), int)
    labels[4:10, 5:15], labels[12:20, 8:20] = 1, 2
    return Panel("s0001", RANDOM.normal(0, 100, (24, 30)), {"reference": labels, "network": np.roll(labels, 2)})


DRAWN = {
    "bubbles": lambda demo: draw_bubbles(published_bubbles(), x_label="s", y_label="DSC", demo=demo),
    "bars": lambda demo: draw_bars({"DSC": {"a": {"published": Bar(0.7, 0.6, 0.8)}}}, y_label="score", demo=demo),
    "subgroups": lambda demo: draw_subgroups(
        {
            "organs": {"partial": RANDOM.normal(70, 5, 20), "entire": [80.0]},
            "ribs": {"partial": [], "entire": [np.nan]},
        },
        y_label="DSC",
        published={"organs": 75.0},
        demo=demo,
    ),
    "curves": lambda demo: draw_curves(
        {"data": {"run": Curve([0, 1, 2], [3.0, np.nan, 1.0])}}, y_label="loss", demo=demo
    ),
    "qualitative": lambda demo: draw_panels(
        [panel()], columns=["reference", "network", "absent"], label_names={1: "liver", 2: "spleen"}, demo=demo
    ),
    "receptive_field": lambda demo: draw_receptive_fields({"net": np.eye(20) + 0.01}, demo=demo),
    "reason": lambda demo: draw_reason("Fig. 3a", "not run", demo=demo),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_every_kind_is_drawn_with_text_as_text_and_a_demo_note(kind, tmp_path):
    save_figure(DRAWN[kind](True), [tmp_path / "figure.svg"])
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert DEMO_NOTE in text
    assert "<text" in text
    save_figure(DRAWN[kind](False), [tmp_path / "figure.svg"])
    assert DEMO_NOTE not in (tmp_path / "figure.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_the_same_every_time(suffix, tmp_path):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        save_figure(draw_bubbles(published_bubbles(), x_label="s", y_label="DSC"), [path])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not re.search(rb"20\d\d-\d\d-\d\dT|CreationDate", paths[0].read_bytes())


def test_the_callers_settings_stay_as_they_are():
    before = dict(matplotlib.rcParams)
    DRAWN["bubbles"](False)
    assert dict(matplotlib.rcParams) == before


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown figure format"):
        save_figure(new_figure(), [tmp_path / "figure.gif"])
    assert not list(tmp_path.iterdir())


def label_boxes(figure) -> dict[str, np.ndarray]:
    """Extents in pixels of the written labels."""
    figure.draw_without_rendering()
    return {
        text.get_text(): np.array(text.get_window_extent().extents)
        for text in figure.axes[0].texts
        if text.get_text() and type(text).__name__ == "Annotation"
    }


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    side = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.clip(side, 0, None)))


def test_labels_of_the_published_figure_do_not_overlap():
    figure = draw_bubbles(published_bubbles(), x_label="Time (s)", y_label="DSC (%)", highlight="Swin SMT (ours)")
    boxes = label_boxes(figure)
    assert set(boxes) == set(TABLE.rows)
    names = list(boxes)
    for index, one in enumerate(names):
        for other in names[:index]:
            assert overlap(boxes[one], boxes[other]) == 0, (one, other)
    frame = np.array(figure.axes[0].get_window_extent().extents)
    for name, box in boxes.items():
        assert overlap(box, frame) == pytest.approx(np.prod(box[2:] - box[:2])), f"{name} leaves the axes"


def test_labels_of_crowded_circles_do_not_overlap():
    figure = new_figure()
    (axes,) = add_axes(figure)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    spread = np.random.default_rng(3).normal(5, 0.4, (9, 2))
    place_labels(axes, [Anchor(f"method {index}", x, y, 6.0) for index, (x, y) in enumerate(spread)])
    boxes = list(label_boxes(figure).values())
    assert len(boxes) == 9
    assert all(overlap(a, b) == 0 for index, a in enumerate(boxes) for b in boxes[:index])


def test_circle_areas_are_proportional_to_their_size():
    figure = draw_bubbles([Bubble("a", 1, 1, 10), Bubble("b", 2, 2, 40)], x_label="x", y_label="y")
    sizes = [float(collection.get_sizes()[0]) for collection in figure.axes[0].collections[:2]]
    assert max(sizes) / min(sizes) == pytest.approx(4.0)


def test_published_and_rebuilt_are_overlaid():
    pair = [Bubble("a", 1, 80, 10), Bubble("a", 2, 78, 11, "rebuilt"), Bubble("b", 3, 70, 5)]
    figure = draw_bubbles(pair, x_label="x", y_label="y")
    outlines = [item for item in figure.axes[0].collections if len(item.get_facecolor()) == 0]
    assert len(outlines) == 1
    assert set(label_boxes(figure)) == {"a", "b"}


def test_a_mixed_circle_is_marked_and_explained(tmp_path):
    figure = draw_bubbles([Bubble("a", 1, 80, 10, "mixed")], x_label="x", y_label="y")
    assert "a ‡" in label_boxes(figure)
    assert "as published" in figure._supxlabel.get_text()


def test_nothing_to_draw_is_said():
    with pytest.raises(InputError, match="nothing to draw"):
        draw_bubbles([Bubble("a", np.nan, 1, 1)], x_label="x", y_label="y")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_bars({"DSC": {"a": {"published": Bar(np.nan)}}}, y_label="y")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_subgroups({"organs": {"all": [np.nan]}}, y_label="y")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_curves({"data": {"a": Curve([0], [np.nan])}}, y_label="y")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_panels([], columns=[], label_names={})
    with pytest.raises(InputError, match="nothing to draw"):
        draw_receptive_fields({})


@pytest.mark.parametrize(("scans", "boxes"), [(4, 0), (5, 1)])
def test_few_scans_have_no_quartiles(scans: int, boxes: int) -> None:
    (axes,) = draw_subgroups({"organs": {"all": np.arange(scans)}}, y_label="y").axes
    assert len([patch for patch in axes.patches if isinstance(patch, PathPatch)]) == boxes


def test_bars_start_at_zero_unless_they_are_close():
    close = draw_bars({"DSC": {"a": {"p": Bar(0.776)}, "b": {"p": Bar(0.765)}}}, y_label="score").axes[0]
    assert 0.7 < close.get_ylim()[0] < 0.765 and "(axis cut)" in close.get_ylabel()
    far = draw_bars({"DSC": {"a": {"p": Bar(0.8)}, "b": {"p": Bar(0.3)}}}, y_label="score").axes[0]
    assert far.get_ylim()[0] == 0 and "cut" not in far.get_ylabel()


def test_bars_fill_their_axes():
    for panel in ({"a": {"p": Bar(0.776)}, "b": {"p": Bar(0.765)}}, {"a": {"p": Bar(0.5, 0.2, 0.8)}}):
        axes = draw_bars({"DSC": panel}, y_label="score").axes[0]
        bottom, top = axes.get_ylim()
        highest = max(bar["p"].value if np.isnan(bar["p"].upper) else bar["p"].upper for bar in panel.values())
        assert 0.8 < (highest - bottom) / (top - bottom) < 1.0


def test_arrows_lead_from_edge_to_edge_and_the_legend_has_the_sizes_asked_for():
    bubbles = [Bubble("scratch", 1, 1, 40), Bubble("tuned", 1, 2, 10)]
    arrows = [("scratch", "tuned"), ("scratch", "nobody")]
    figure = draw_bubbles(bubbles, x_label="x", y_label="y", arrows=arrows, legend_sizes=[10, 40, 70])
    drawn = [text for text in figure.axes[0].texts if getattr(text, "arrow_patch", None) and not text.get_text()]
    assert len(drawn) == 1 and drawn[0].arrow_patch.shrinkA == pytest.approx(2 * drawn[0].arrow_patch.shrinkB)
    assert {"10 M", "40 M", "70 M"} <= {text.get_text() for text in figure.axes[0].texts}


def test_smoothing_is_unbiased_and_skips_missing_values():
    assert smooth([2.0, 2.0, 2.0], 0.9) == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([1.0, np.nan, 3.0], 0.0) == pytest.approx([1.0, 1.0, 3.0])
    assert smooth([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


def test_side_holding_by_hand():
    assert side_holding(np.ones((10, 10)), 0.36) == pytest.approx(0.6)
    assert side_holding(np.ones((10, 10)), 1.0) == 1.0
    point = np.zeros((11, 11))
    point[5, 5] = 1
    assert side_holding(point, 0.99) == pytest.approx(1 / 11)


def test_networks_without_a_map_are_named_beside_the_others():
    one = draw_receptive_fields(
        {"net": np.eye(4)}, title="mean of 3 samples", missing={"other": "not run " + "x " * 40}
    )
    words = one.get_supxlabel()
    assert words.startswith("mean of 3 samples\nother: not attempted (not run") and words.count("\n") > 2
    assert one.get_figheight() > draw_receptive_fields({"net": np.eye(4)}).get_figheight()


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), -np.ones((4, 4)), np.full((4, 4), np.nan), np.ones(4)])
def test_bad_receptive_fields_are_refused(bad):
    with pytest.raises(InputError, match="not a receptive field map: net"):
        draw_receptive_fields({"net": bad})


def test_best_slice_shows_the_most_structures():
    labels = np.zeros((8, 8, 5), int)
    labels[:, :, 1] = 3
    labels[:2, :, 3], labels[2:4, :, 3] = 1, 2
    assert best_slice(labels) == 3


def test_label_maps_of_another_shape_are_refused():
    wrong = Panel("s1", np.zeros((4, 4)), {"reference": np.zeros((4, 5), int)})
    with pytest.raises(InputError, match="another shape"):
        draw_panels([wrong], columns=["reference"], label_names={})


def test_the_image_of_a_column_without_a_prediction_is_faded():
    """Else it passes for a network that found nothing."""
    image, reference, network, absent = DRAWN["qualitative"](False).axes
    assert all(axes.images[0].get_alpha() == 1 for axes in (image, reference, network))
    assert absent.images[0].get_alpha() < 0.5 and absent.get_xlabel() == "no prediction"


def test_structures_in_view_have_different_colours():
    assert len(set(colours_of(range(1, 43)).values())) == 42
    assert colours_of([7, 3]) == colours_of([3, 7])
