from __future__ import annotations

from pathlib import Path

import pytest
from helpers.expected_scores import EXPECTED, SITUATIONS, WORST

from benchmark.errors import InputError
from benchmark.scoring.conventions import (
    BUILT_IN,
    convention_digests,
    get_convention,
    load_conventions,
    scored_conventions,
)


@pytest.mark.parametrize(("name", "metric"), EXPECTED)
def test_empty_situations(name, metric):
    values = [get_convention(name).empty_value(metric, situation) for situation in SITUATIONS]
    worst = 400.0 if metric == "hd95" else 0.0
    expected = [worst if value == WORST else value for value in EXPECTED[name, metric]]
    assert values == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", load_conventions())
def test_every_convention_names_its_source_and_has_its_own_digest(name):
    conventions = load_conventions()
    assert conventions[name].source
    assert any(key[0] == name for key in EXPECTED)
    others = {other.digest for key, other in conventions.items() if key != name}
    assert conventions[name].digest not in others


def test_flare_tolerances_by_any_name():
    convention = get_convention("umamba_abdomen")
    names = ("Liver", "right kidney", "kidney_left", "IVC", "postcava", "adrenal_gland_right", "duodenum", "Esophagus")
    assert [convention.tolerance(name, planar=False) for name in names] == [5, 3, 3, 2, 2, 2, 7, 3]
    with pytest.raises(InputError, match="no tolerance for class heart"):
        convention.tolerance("heart", planar=False)


def test_canonical_tolerance_of_images_is_in_pixels():
    convention = get_convention("canonical")
    assert [convention.tolerance("polyp", planar=planar) for planar in (False, True)] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("right", "wrong", "key", "allowed"),
    [
        ("averaging: cases", "averging: cases", "canonical.averging", "one of title, source"),
        ("averaging: cases_then_classes", "averaging: cases", "canonical.averaging", "'classes_then_cases'"),
        ("empty_reference: worst", "empty_reference: wrst", "canonical.rules.dsc.empty_reference", "a number, skip or"),
        ("both_empty: skip", "both_empty: yes", "canonical.rules.dsc.both_empty", "a number, skip or worst"),
        ("definition: surface_elements", "definition: surfels", "canonical.surface.definition", "'voxel_edges'"),
        ("{default: 3.0, images", "{defalt: 3.0, images", "canonical.tolerances.defalt", "default, images, classes"),
        ("hd95: *never_helps", "hd96: *never_helps", "canonical.rules.hd96", "'hd95'"),
        ("decoding: boundary_aware", "decoding: watershed", "canonical.instances.decoding", "'components'"),
        ("thresholds: [0.5, 0.75]", "thresholds: []", "canonical.instances.thresholds", "at least 1"),
        ("spacing: header", "spacing: headr", "canonical.spacing", "'header' or 'unit'"),
    ],
)
def test_a_typo_names_file_key_and_what_is_allowed(tmp_path: Path, right, wrong, key, allowed):
    file = tmp_path / "mine.yaml"
    text = BUILT_IN.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    with pytest.raises(InputError) as caught:
        load_conventions(file)
    message = str(caught.value)
    assert f"{file}: conventions.{key}" in message
    assert allowed in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("    tolerances: {default: 3.0, images: 2.0}\n", "nsd in rules needs the key `tolerances`"),
        ("    worst_distance: 400", "hd, hd95, assd in rules needs the key `worst_distance`"),
    ],
)
def test_a_metric_without_what_it_needs_is_refused(tmp_path: Path, line, message):
    file = tmp_path / "mine.yaml"
    text = BUILT_IN.read_text()
    assert line in text
    file.write_text(text.replace(line, "    #", 1))
    with pytest.raises(InputError, match=message):
        load_conventions(file)


@pytest.mark.parametrize("text", ["conventions: [", "convention: {}", "- a", "conventions: {mine: 3}"])
def test_files_of_another_form_are_refused(tmp_path: Path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_conventions(file)


def test_a_protocol_may_name_canonical_itself():
    """Scored once: twice the same rows were a table that could not be built, after all training."""
    assert list(scored_conventions("canonical")) == ["canonical"] == list(convention_digests("canonical"))
    assert list(scored_conventions("swin_smt")) == ["swin_smt", "canonical"]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="canonical, umamba_abdomen"):
        get_convention("umamba")
    with pytest.raises(InputError, match="does not define hd95"):
        get_convention("nnunet").rule("hd95")
