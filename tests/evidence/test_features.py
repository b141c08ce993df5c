"""The figure of features: its panels, and maps that do not belong together."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.evidence.figures.features import draw_features
from benchmark.evidence.map_data import upright


def maps(slices: int = 2, depth: int = 13) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"images": (16, 12), "neck": (4, 3), "fused": (4, 3), "attention": (4, 3), "layers": (depth, 4, 3)}
    return {name: generator.random((slices, *shape)) for name, shape in shapes.items()}


def test_a_strip_of_all_layers_and_four_pictures_a_slice():
    shown = maps()
    figure = draw_features(shown, note="Middle slices.", demo=True)
    above, below = figure.subfigs
    strip = [axes.images[0].get_array() for axes in above.axes if axes.images]
    assert len(strip) == 13 and all(np.array_equal(picture, shown["layers"][0, k].T) for k, picture in enumerate(strip))
    panels = [axes.images[0].get_array() for axes in below.axes]
    assert len(panels) == 8 and np.array_equal(panels[5], shown["neck"][1].T)
    assert [axes.get_title() for axes in below.axes[:4]] == ["image", "neck, no fusion", "fused", "attention"]
    assert below.get_supxlabel() == "Middle slices."


@pytest.mark.parametrize("change", [{"neck": None}, {"fused": np.zeros((3, 4, 3))}, {"layers": np.zeros((2, 4, 3))}])
def test_maps_that_do_not_belong_together_are_refused(change):
    wrong = {name: values for name, values in (maps() | change).items() if values is not None}
    with pytest.raises(InputError, match="not the features of slices"):
        draw_features(wrong)


def test_slices_are_looked_at_from_the_feet_with_the_front_up():
    picture = np.arange(6).reshape(1, 2, 3)
    assert np.array_equal(upright(picture, "RA"), picture[:, ::-1, ::-1])
    assert np.array_equal(upright(picture, "LP"), picture) and upright(picture, "") is picture
    assert np.array_equal(upright(picture, "LA"), picture[..., ::-1])
