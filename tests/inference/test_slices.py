"""2-D networks on volumes: slice by slice equals MONAI on every slice; whole images are resized and come back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from torch import nn

from benchmark.data.geometry import slice_patch
from benchmark.errors import InputError
from benchmark.inference.slices import on_slices, predict_on_network_grid, predict_whole, slice_batches
from benchmark.inference.sliding_window import Window, predict_labels
from benchmark.settings import Inference


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_monais_slice_by_slice(network, axis):
    image = torch.randn(1, 13, 11, 9)
    window = Window(slice_patch((8, 6), axis), overlap=0.5, batch=3)
    labels = predict_labels(on_slices(network, axis), image, window, device="cpu")
    inferer = SlidingWindowInferer((8, 6), overlap=0.5, mode="gaussian", sw_batch_size=3)
    with torch.no_grad():
        expected = [inferer(part[None], network)[0].argmax(0) for part in image.unbind(axis + 1)]
    assert labels.eq(torch.stack(expected, axis)).float().mean() > 0.999  # batches hold other windows: sums may round


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_slices_at_a_fixed_size(network, axis):
    image = torch.randn(1, 7, 10, 8)
    labels = predict_whole(network, image, (16, 12), Inference(slice_axis=axis, window_batch=2), device="cpu")
    for index, part in enumerate(image.unbind(axis + 1)):
        resized = F.interpolate(part[None], (16, 12), mode="bilinear", align_corners=False)
        with torch.no_grad():
            classes = network(resized).argmax(1).byte()
        expected = F.interpolate(classes[None], part.shape[1:], mode="nearest-exact")[0, 0]
        assert labels.select(axis, index).eq(expected).float().mean() > 0.98  # interpolation may round at a tie


def test_a_whole_2d_image_of_the_networks_size_is_one_forward_pass(network):
    image = torch.randn(1, 16, 12)
    with torch.no_grad():
        expected = network(image[None])[0].argmax(0)
    assert torch.equal(predict_whole(network, image, (16, 12), Inference(slice_axis=0), device="cpu").long(), expected)


def test_axes_that_do_not_fit(network):
    with pytest.raises(InputError, match="do not fit"):
        predict_whole(network, torch.zeros(1, 8), (4, 4), Inference(), device="cpu")


RELEASES = {
    "SAMed": {"resize": {"image": "zoom3", "labels": "zoom0"}},
    "H-SAM": {"resize": {"image": "zoom3", "labels": "zoom0"}},
    "H-SAM_stage2": {"resize": {"image": "zoom3", "labels": "zoom0"}},
    "TransUNet": {"resize": {"image": "zoom3", "labels": "zoom0"}},
    "M4oE": {"resize": {"image": "zoom3", "labels": "zoom0"}},
    "SAMed_two_zooms": {"resize": {"image": "zoom3", "labels": "zoom0", "through": (20, 20)}},
    "E-SAM_chunk4": {"resize": {"labels": "floor"}, "window_batch": 4, "slice_batches": "e_sam"},
    "E-SAM_chunk8": {"resize": {"labels": "floor"}, "window_batch": 8, "slice_batches": "e_sam"},
    "E-SAM_chunk16": {"resize": {"labels": "floor"}, "window_batch": 16, "slice_batches": "e_sam"},
}


class Convolution(nn.Module):
    """The fixture's network: one 3×3 convolution; remembers what it was given."""

    def __init__(self, facts: dict, release: str) -> None:
        super().__init__()
        suffix = "_1ch" if release == "M4oE" else ""
        self.weight, self.bias = facts[f"conv_weight{suffix}"], facts[f"conv_bias{suffix}"]
        self.release, self.seen = release, []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        threefold = image.expand(-1, self.weight.shape[1], -1, -1)
        self.seen.append(image if self.release == "TransUNet" else threefold)
        logits = F.conv2d(threefold, self.weight, self.bias, padding=1)
        if self.release == "H-SAM_stage2":
            return 0.7 * logits.flip(1)
        return (logits + 0.7 * logits.flip(1)) / 2 if self.release == "H-SAM" else logits


@pytest.mark.parity
@pytest.mark.parametrize("release", RELEASES)
def test_whole_slices_are_decoded_as_the_release_does(parity_around, release):
    facts = parity_around("decode_volumes")
    expected, network = facts["results"][release], Convolution(facts, release)
    size = (expected.get("patch_size", facts["size"]),) * 2
    settings = Inference(slice_axis=0, **RELEASES[release])
    labels = predict_whole(network, facts["image"][None], size, settings, device="cpu")
    assert [len(images) for images in network.seen] == expected["batch_sizes"]
    torch.testing.assert_close(torch.cat(network.seen)[:2], expected["inputs_first"], rtol=0, atol=2e-6)
    assert torch.equal(labels.long(), expected["prediction"])


@pytest.mark.parity
def test_every_release_is_tried(parity_around):
    assert set(RELEASES) == set(parity_around("decode_volumes")["results"])


@pytest.mark.parity
def test_e_sam_loses_slices_and_plain_does_not(parity_around):
    facts = parity_around("decode_volumes")["e_sam_slices_covered"]
    for name, covered in facts.items():
        count, size = (int(part.strip("slicehunk")) for part in name.split("_"))
        assert sorted({k for batch in slice_batches(count, size, "e_sam") for k in batch}) == covered
        assert [k for batch in slice_batches(count, size, "plain") for k in batch] == list(range(count))


def test_a_whole_volume_is_one_image_for_a_network_of_volumes():
    network, image = nn.Conv3d(1, 2, 1), torch.randn(1, 6, 8, 4)
    labels = predict_whole(network, image, (12, 16, 8), Inference(), device="cpu")
    resized = F.interpolate(image[None], (12, 16, 8), mode="trilinear", align_corners=False)
    with torch.no_grad():
        expected = F.interpolate(network(resized).argmax(1)[None].float(), (6, 8, 4), mode="nearest-exact")[0, 0]
    assert labels.shape == (6, 8, 4) and labels.eq(expected).float().mean() > 0.98


@pytest.mark.parametrize(("count", "lost"), [(3, 0), (6, 4), (8, 0), (9, 0)])
def test_slices_that_e_sam_loses_are_told(network, count, lost, capsys):
    image, settings = torch.randn(1, 16, 12, count), Inference(window_batch=8, slice_batches="e_sam")
    predict_on_network_grid(network, image, (16, 12), settings, device="cpu")
    said = capsys.readouterr().err
    assert (f"{lost} of {count} slices stay background" in said) == bool(lost) == bool(said)


def test_labels_can_stay_on_the_networks_grid(network):
    image = torch.randn(1, 7, 10, 8)
    labels = predict_on_network_grid(network, image, (16, 12), Inference(slice_axis=1), device="cpu")
    assert labels.shape == (16, 10, 12) and labels.dtype == torch.int16
    resized = F.interpolate(image[:, :, 3][None], (16, 12), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert labels[:, 3].eq(network(resized)[0].argmax(0)).float().mean() > 0.98


def test_slices_can_have_their_own_range(network):
    image = torch.rand(1, 16, 12, 3) * torch.tensor([1.0, 5.0, 0.0]) + 2
    seen = []

    def record(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return network(images)

    predict_whole(record, image, (16, 12), Inference(slice_range="unit", window_batch=3), device="cpu")
    assert seen[0].amin((1, 2, 3)).tolist() == [0, 0, 0] and seen[0].amax((1, 2, 3)).tolist() == [1, 1, 0]
