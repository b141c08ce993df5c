"""Two stages: where the second one looks, and labels from enlarged scores, against torch, scipy and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from benchmark.data.sampling import enlarged_box
from benchmark.errors import InputError
from benchmark.inference.two_stages import find_box, predict_enlarged
from benchmark.settings import Inference

STAGE = {"patch": (8, 8, 8), "margin": 20.0}


class Bright(nn.Module):
    """Foreground where the image is above one half."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([torch.full_like(image, 0.5), image], dim=1)


class TwoStages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_stage = Bright()


def box(image: np.ndarray, spacing: tuple[float, ...], margin: float = 0.0) -> tuple[list[int], list[int]]:
    settings = Inference(method="whole", first_stage={**STAGE, "margin": margin})
    return find_box(TwoStages(), torch.from_numpy(image)[None], spacing, settings, device="cpu")


def test_the_box_is_that_of_the_largest_part_with_its_margin():
    image = np.zeros((16, 24, 8), np.float32)
    image[4:10, 9:18, 2:5] = 1  # aligned with the coarse voxels of 2 x 3 x 1
    image[14:16, 0:3, 7:8] = 1  # a smaller part
    assert box(image, (1.0, 1.0, 1.0)) == ([4, 9, 2], [10, 18, 5])
    # 20 mm are 5, 4 and 10 voxels; nothing reaches over the border
    assert box(image, (4.0, 5.0, 2.0), margin=20.0) == ([0, 5, 0], [15, 22, 8])


def test_where_nothing_is_found_the_whole_volume_is_the_box():
    assert box(np.zeros((16, 24, 8), np.float32), (1.0, 1.0, 1.0), margin=20.0) == ([0, 0, 0], [16, 24, 8])


def test_a_margin_is_rounded_to_voxels():
    assert enlarged_box([9, 9], [12, 12], [7.9, 8.1], 20.0, [30, 13]) == ([6, 7], [15, 13])


def test_a_network_of_one_stage_is_refused():
    settings = Inference(method="whole", first_stage=STAGE)
    with pytest.raises(InputError, match="no first stage"):
        find_box(Bright(), torch.zeros(1, 8, 8, 8), (1.0,) * 3, settings, device="cpu")


@pytest.mark.parametrize("fields", [{"method": "sliding_window"}, {"method": "whole", "network_grid": True}], ids=str)
@pytest.mark.parametrize("own", [{"first_stage": STAGE}, {"enlarged": "logits"}], ids=str)
def test_they_belong_to_whole_images(fields, own):
    with pytest.raises(ValidationError):
        Inference(**fields, **own)


class Scores(nn.Module):
    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, image: Tensor) -> Tensor:
        return self.scores


@pytest.mark.parametrize("enlarged", ["logits", "probabilities"])
@pytest.mark.parametrize("how", ["linear", "cubic", "zoom3"])
def test_scores_come_back_before_the_highest_is_taken(enlarged, how):
    scores = 3 * torch.randn(1, 4, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    shape = (11, 9, 13)
    settings = Inference(method="whole", enlarged=enlarged, resize={"image": how})
    found = predict_enlarged(Scores(scores), torch.zeros(1, *shape), (5, 6, 4), settings, device="cpu")
    small = scores.softmax(dim=1) if enlarged == "probabilities" else scores
    if how != "zoom3":
        expected = functional.interpolate(small, shape, mode="trilinear", align_corners=False)[0].numpy()
    else:
        factors = [large / side for large, side in zip(shape, (5, 6, 4), strict=True)]
        expected = np.stack([ndimage.zoom(channel, factors, order=1) for channel in small[0].numpy()])
    highest = np.sort(expected, axis=0)
    clear = highest[-1] - highest[-2] > 1e-4  # rounding may decide elsewhere
    assert found.dtype == torch.int16 and clear.mean() > 0.99
    np.testing.assert_array_equal(found.numpy()[clear], expected.argmax(axis=0)[clear])


def test_a_network_that_gives_nan_is_refused():
    settings = Inference(method="whole", enlarged="logits")
    with pytest.raises(InputError, match="NaN"):
        predict_enlarged(Scores(torch.full((1, 2, 2, 2, 2), torch.nan)), torch.zeros(1, 4, 4, 4), (2, 2, 2), settings,
                         device="cpu")  # fmt: skip
