"""What figures collect from files: panels from label maps, curves from logs, coordinates from several tables."""

from __future__ import annotations

import copy
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.targets import Claim, Column, Figure, Row, Target
from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.evidence.curve_data import curves_of
from benchmark.evidence.figure import STYLES, draw
from benchmark.evidence.figure_data import NotDrawable, Request, bars_of, bubbles_of
from benchmark.evidence.panel_data import View, panels_of
from benchmark.files import write_json, write_text
from benchmark.layout import Layout

RUN = "swin_smt/totalseg/swin_smt-n32/seed0"
FLIPPED = np.diag([-1.5, 1.5, 3.0, 1.0])  # the first axis runs to the patient's left, the second to the front


def test_stated_differences_make_a_published_figure(tmp_path: Path) -> None:
    """Fig. 5 prints no values: Table I less what Section IV-H states. 0.7767 − 1.21 points = 0.7646."""
    catalog = load_catalog()
    target = catalog.target("fig5_training_procedure")
    panels = bars_of(Request(catalog, target, "paper", Layout(str(tmp_path)), published_only=True))
    values = {
        measure: {row: {name: bar.value for name, bar in series.items()} for row, series in panel.items()}
        for measure, panel in panels.items()
    }
    assert values == {
        "DSC": {
            "Swin-UMamba†": {"published": 0.7767},
            "w/o deep supervision": {"published": 0.7752},
            "w/ pretrained decoder": {"published": 0.7646},
        },
        "NSD": {
            "Swin-UMamba†": {"published": 0.8428},
            "w/o deep supervision": {"published": 0.8411},
            "w/ pretrained decoder": {"published": 0.8319},
        },
    }


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("fig3b_speed_vs_dsc", {"x": "Tim (s)"}, ["fig3b_speed_vs_dsc.yaml: figure: parameters: x", "Time (s)"]),
        (
            "fig5_training_procedure",
            {"less": "without-ds-dcs"},
            ["stated: less: w/o deep supervision", "without-ds-dsc"],
        ),
        ("fig5_training_procedure", {"row": "Nobody"}, ["parameters: stated: row", "nnU-Net"]),
    ],
)
def test_a_name_that_a_figure_cannot_find_is_told_with_its_place(
    name: str, change: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    catalog = load_catalog()
    target = catalog.target(name)
    parameters = copy.deepcopy(target.figure.parameters)
    for key, value in change.items():
        if key == "less":
            parameters["stated"]["less"]["w/o deep supervision"]["DSC"] = value
        else:
            parameters.get("stated", parameters)[key] = value
    wrong = target.model_copy(update={"figure": target.figure.model_copy(update={"parameters": parameters})})
    with pytest.raises(InputError) as caught:
        draw(Request(catalog, wrong, "paper", Layout(str(tmp_path)), published_only=True))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", ["fig6_blocks", "fig7_receptive_field", "fig3a_subgroups"])
def test_a_figure_without_published_numbers_says_so(name: str, tmp_path: Path) -> None:
    catalog = load_catalog()
    with pytest.raises(InputError, match="prints no numbers of this figure"):
        draw(Request(catalog, catalog.target(name), "paper", Layout(str(tmp_path)), published_only=True))


class Tables:
    """A catalog of hand-made tables beside the real one."""

    def __init__(self, *tables: Target) -> None:
        self.tables = {table.target: table for table in tables}

    def target(self, name: str) -> Target:
        return self.tables[name]

    def target_path(self, target: Target) -> Path:
        return Path(f"{target.target}.yaml")


def figure(style: str, **parameters) -> Target:
    return Target(
        target="fig",
        paper="swin_smt",
        kind="figure",
        number="Fig. 9",
        title="Made for a test",
        protocol="totalseg",
        rows={"Swin SMT": Row(model="swin_smt-n32"), "UNETR": Row(model="unetr")},
        columns={"DSC": Column(measure="score", metric="dsc", unit="%")},
        figure=Figure(style=style, parameters=parameters),
    )


def request(target: Target, results: Path, **keywords) -> Request:
    return Request(load_catalog(), target, "demo", Layout(str(results)), **keywords)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, FLIPPED), path)


@pytest.fixture
def results(tmp_path) -> Path:
    """One predicted scan, as the stages before leave it: raw image, reference and prediction on the raw grid."""
    labels = np.zeros((8, 10, 6), np.uint8)
    labels[0:2, 7:10, 4] = 5  # liver: at the patient's right, in front
    labels[6:8, 0:3, 4] = 1
    root = tmp_path / "raw"
    save(root / "s0001/ct.nii.gz", np.random.default_rng(0).normal(0, 100, labels.shape).astype(np.float32))
    write_text(root / "meta.csv", "image_id;age;gender;institute;study_type;split\ns0001;1;m;a;ct;test\n")
    folder = tmp_path / "results"
    config = load_catalog().run(RUN, "demo")
    write_json(folder / "data/totalseg/source.json", {"dataset": "totalseg", "root": str(root), "kind": "local"})
    save(folder / f"data/totalseg/prepared/{config.preparation_id}/references/s0001.nii.gz", labels)
    save(folder / f"runs/{RUN}/predictions/s0001.nii.gz", np.where(labels == 1, 0, labels).astype(np.uint8))
    write_json(folder / f"runs/{RUN}/predicted.json", {"cases": ["s0001"], "missing": []})
    write_text(folder / f"runs/{RUN}/log.csv", "step,epoch,loss\n0,0,2.5\n1,0,1.5\n")
    return folder


def test_panels_show_the_same_slice_the_way_radiologists_do(results):
    (panel,), columns, names, missing, notes = panels_of(request(figure("qualitative"), results))
    assert panel.name == "s0001, slice 4" and columns == ["reference", "Swin SMT", "UNETR"]
    assert missing == {("s0001, slice 4", "UNETR"): "not run"} and notes == ["DSC: 1 of 2 cases"]
    assert panel.image.shape == (10, 8) and panel.aspect == 1.0
    assert set(np.unique(panel.labels["reference"])) == {0, 1, 5}
    assert set(np.unique(panel.labels["Swin SMT"])) == {0, 5}
    rows, places = np.nonzero(panel.labels["reference"] == 5)
    assert rows.max() <= 2 and places.max() <= 1  # front at the top, the patient's right at the left
    assert names[5] == load_catalog().run(RUN, "demo").labels[4]
    drawn = draw(request(figure("qualitative"), results))
    drawn.draw_without_rendering()
    assert "not run" in {axes.get_xlabel() for axes in drawn.axes}
    assert drawn.legends[0].get_title().get_text() == "not shown: DSC: 1 of 2 cases"


def test_panels_of_label_maps_that_were_handed_in(results, tmp_path):
    """Without any record of ours, only of test cases; a folder that is not there is said, a wrong size refused."""
    unetr, maps = "swin_smt/totalseg/unetr/seed0", tmp_path / "their maps"
    own = results / f"runs/{RUN}/predictions/s0001.nii.gz"
    save(maps / "s0000.nii.gz", np.zeros((8, 10, 6), np.uint8))
    save(maps / "s0001.nii.gz", np.asanyarray(nibabel.load(own).dataobj))
    write_json(results / "data/totalseg/split.json", {"train": ["s0000"], "val": [], "test": ["s0001"]})
    layout = Layout(str(results), predictions={unetr: str(maps), RUN: str(tmp_path / "nowhere")})
    wanted = Request(load_catalog(), figure("qualitative"), "demo", layout)
    (panel,), _, _, missing, _ = panels_of(wanted)
    assert missing == {(panel.name, "Swin SMT"): f"no predictions in {tmp_path}/nowhere"}
    assert set(np.unique(panel.labels["UNETR"])) == {0, 5}
    save(maps / "s0001.nii.gz", np.zeros((8, 10, 5), np.uint8))
    with pytest.raises(InputError, match="not as large as its reference"):
        panels_of(wanted)
    nothing = Request(load_catalog(), figure("qualitative"), "demo", Layout(str(results), predictions={RUN: ""}))
    with pytest.raises(NotDrawable, match="no predictions handed in"):
        panels_of(nothing)


def test_a_figure_has_the_composition_that_it_names(results):
    """Another column is another dataset; of one without predictions the figure says so."""
    wanted = {"panels": {"DSC": 1, "other": 3}, "attributes": {"DSC": {"study_type": "ct"}}}
    target = figure("qualitative", **wanted)
    other = Column(measure="score", metric="dsc", protocol="totalseg")
    target = target.model_copy(update={"columns": {**target.columns, "other": other}})
    sheet = panels_of(request(target, results))
    assert [panel.name for panel in sheet.panels] == ["s0001, slice 4"] * 2
    assert sheet.notes == ["other: 1 of 3 cases"]
    nobody = figure("qualitative", attributes={"DSC": {"study_type": "mr"}})
    with pytest.raises(NotDrawable):
        panels_of(request(nobody, results))


def test_pixels_keep_their_aspect_whatever_the_stored_axes():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[2] = 1  # the stored first axis is the patient's long axis
    affine = np.array([[0, 0, 2.0, 0], [0, 1.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    view = View.of(labels, affine)
    assert view.index == 2 and view.aspect == 0.5
    assert view.plane(labels).shape == (5, 6) and view.plane(labels).all()


def test_curves_come_from_the_logs(results):
    panels = curves_of(request(figure("curves"), results))
    assert {title: list(curves) for title, curves in panels.items()} == {"totalseg": ["Swin SMT"]}
    curves = panels["totalseg"]
    assert (list(curves["Swin SMT"].steps), list(curves["Swin SMT"].values)) == ([0, 1], [2.5, 1.5])


def logged(folder, *trainings):
    for number, training in enumerate(trainings):
        log = folder / "runs" / training / "log.csv"
        log.parent.mkdir(parents=True)
        log.write_text(f"step,loss\n0,{number + 1}\n1,{number}\n", encoding="utf-8")


def test_trainings_that_are_no_runs_have_curves(tmp_path):
    """An adaptation behind two rows is drawn once; a joint training stands in its own panel, with all its data."""
    catalog, paper = load_catalog(), "swin_umamba_dagger"
    before = f"{paper}/abdomen_mri-adaptation/encoder-imagenet/seed0"
    after = f"{paper}/abdomen_mri/swin_umamba_d-adapted/seed0"
    logged(tmp_path, before, after)
    target = catalog.target("table1_abdomenmri")
    panels = curves_of(Request(catalog, target, "paper", Layout(str(tmp_path))))
    names = {title: list(curves) for title, curves in panels.items()}
    row = next(row for row in target.rows if catalog.cell_runs(target, row, next(iter(target.columns)))[0] == after)
    assert names == {"abdomen_mri, masked images": ["abdomen_mri-adaptation/encoder-imagenet"], "abdomen_mri": [row]}
    logged(tmp_path, "m4oe/joint/m4oe/seed0", "m4oe/mae/swin_mae/seed0")
    panels = curves_of(Request(catalog, catalog.target("table2_multimodal"), "paper", Layout(str(tmp_path))))
    data = "flare22 + amos_ct + atlas2023"
    assert {frozenset(title.partition(",")[0].split(" + ")) for title in panels} == {frozenset(data.split(" + "))}
    assert sorted(name for curves in panels.values() for name in curves) == ["joint/m4oe", "mae/swin_mae"]


def test_a_target_without_trainings_has_a_sheet_that_says_so(tmp_path):
    assert main(["figure", "table2_umamba", "--training", "--results", str(tmp_path)]) == 0
    assert "not attempted (not run)" in (tmp_path / "training/table2_umamba.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("style", ["qualitative", "curves", "receptive_field", "features", "diagram"])
def test_a_figure_without_its_files_is_a_sheet_with_the_reason(style, tmp_path):
    sheet = draw(request(figure(style), tmp_path))
    words = [text.get_text() for text in sheet.axes[0].texts]
    assert len(words) == 1 and words[0].startswith("not attempted (")


def test_every_style_of_the_catalog_has_a_drawer():
    assert set(STYLES) == set(Figure.model_fields["style"].annotation.__args__)


def test_a_missing_parameter_names_file_and_key(tmp_path):
    with pytest.raises(InputError, match="parameter 'table' is missing"):
        draw(request(figure("bubbles", x="a", y="b", size="c"), tmp_path))


def table(name: str, cells: dict[tuple[str, str], str]) -> Target:
    columns = {column: Column(measure="score", metric="dsc") for _, column in cells}
    return Target(
        target=name,
        paper="p",
        kind="table",
        number="Table 1",
        title="t",
        rows={row: Row() for row, _ in cells},
        columns=columns,
        published=[Claim(row=row, column=column, value=value) for (row, column), value in cells.items()],
    )


def test_coordinates_are_averaged_over_tables(tmp_path):
    """As TMI Fig. 1: mean score over data sets against mean FLOPs."""
    one = table("one", {("a", "FLOPs"): "20G", ("a", "M"): "30M", ("a", "DSC"): "0.8"})
    two = table("two", {("a", "FLOPs"): "40G", ("a", "M"): "30M", ("a", "F1"): "0.4", ("b", "F1"): "0.5"})
    target = figure("bubbles", tables=["one", "two"], x="FLOPs", y=["DSC", "F1"], size="M")
    published = Request(Tables(one, two), target, "paper", Layout(str(tmp_path)), published_only=True)
    (bubble,) = bubbles_of(published)  # b lacks most cells
    assert (bubble.label, bubble.x, bubble.size, bubble.origin) == ("a", 30.0, 30.0, "published")
    assert bubble.y == pytest.approx(0.6)


def test_scores_of_the_demo_never_stand_beside_published_ones(tmp_path):
    spec = table("one", {(row, name): value for row in "ab" for name, value in (("X", "10"), ("DSC", "0.7"))})
    target = figure("bubbles", table="one", x="X", y="DSC", size="X")
    demo = Request(Tables(spec), target, "demo", Layout(str(tmp_path)))
    counted = "row,column,rebuilt,interval_lower,interval_upper\na,X,12,,\nb,X,13,,\n"
    write_text(tmp_path / "one.compare.csv", counted)
    assert [(bubble.x, bubble.y, bubble.origin) for bubble in bubbles_of(demo)] == [
        (12.0, 0.7, "mixed"),
        (13.0, 0.7, "mixed"),
    ]
    write_text(tmp_path / "one.compare.csv", counted + "b,DSC,0.2,,\n")
    assert [(bubble.label, bubble.y, bubble.origin) for bubble in bubbles_of(demo)] == [("b", 0.2, "rebuilt")]


def test_bars_put_rebuilt_beside_published(tmp_path):
    ablation = table("one", {("a", "DSC"): "0.7767±0.0940", ("b", "DSC"): "0.7752"})
    target = figure("bars", table="one", columns=["DSC"])
    write_text(tmp_path / "one.compare.csv", "row,column,rebuilt,interval_lower,interval_upper\na,DSC,0.77,0.76,0.78\n")
    drawn = draw(Request(Tables(ablation), target, "paper", Layout(str(tmp_path))))
    heights = sorted(round(patch.get_height(), 4) for patch in drawn.axes[0].patches)
    assert heights == [0.77, 0.7752, 0.7767]
    with pytest.raises(NotDrawable):
        bubbles_of(
            Request(Tables(ablation), figure("bubbles", table="one", x="DSC", y="DSC", size="X"), "demo", Layout(""))
        )
