"""What SAM-Med2D's release shows it: padded small slices and values of 8 bits, by hand and against the release."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nibabel import load
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.catalog import load_catalog
from benchmark.data.draw_prompts import draw_prompts
from benchmark.data.prompts import PromptedDataset
from benchmark.data.resizing import labels_from_network, labels_to_network, resize_channels, round_to_bits
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import file_digest, write_json
from benchmark.inference.image import predict_image
from benchmark.inference.predict import predict_run
from benchmark.inference.prompts import predict_prompted, to_network
from benchmark.inference.two_stages import predict_enlarged
from benchmark.models.layers.sam.network import PIXEL_MEAN, standardise
from benchmark.models.layers.sam.prompted import Embedding, Masks
from benchmark.models.registry import build_for_run
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import Inference, Resize, RunConfig, Training
from benchmark.training.objectives import make_objective

RUN = "m4oe/atlas2023-{}/sam_med2d/seed0"
PADDED = Resize(image="floor", labels="floor", padding=(0.485, 0.456, 0.406))
PROMPTED = Inference(method="prompted", enlarged="logits", bits=8, resize=PADDED)


def test_a_small_image_is_centred_and_comes_back_by_hand():
    image, labels = np.array([[[1, 2, 3], [4, 5, 6]]], np.float32), np.array([[1, 0, 2], [3, 3, 0]], np.uint8)
    found = resize_channels(image, (5, 6), Resize(padding=(7, -1)))
    for channel, around in zip(found, (7, -1), strict=True):
        a = around
        rows = [[a] * 6, [a, 1, 2, 3, a, a], [a, 4, 5, 6, a, a], [a] * 6, [a] * 6]  # 3 rows and 3 columns: 1 before
        assert channel.tolist() == rows
    assert found.dtype == np.float32 and found.shape == (2, 5, 6)
    assert np.array_equal(resize_channels(image, (5, 6), Resize(padding=(7,))), found[:1])
    large = labels_to_network(labels, (5, 6), PADDED)
    zeros = [0] * 6
    assert large.tolist() == [zeros, [0, 1, 0, 2, 0, 0], [0, 3, 3, 0, 0, 0], zeros, zeros] and large.dtype == np.uint8
    assert np.array_equal(labels_from_network(large, (2, 3), PADDED), labels)


@pytest.mark.parametrize("shape", [(32, 20), (20, 32), (40, 20), (20, 33), (45, 41), (32, 32)])
def test_an_image_with_a_side_as_large_as_the_network_is_resized(shape):
    """One side alone smaller does not suffice; what comes back is larger then, and is not taken for a small image."""
    generator = np.random.default_rng(0)
    image, labels = generator.random((1, *shape), np.float32), generator.integers(5, size=shape).astype(np.uint8)
    plain, size = Resize(image="floor", labels="floor"), (32, 32)
    found = resize_channels(image, size, PADDED)
    assert np.array_equal(found, resize_channels(image, size, plain).repeat(3, axis=0))
    small = labels_to_network(labels, size, PADDED)
    assert np.array_equal(small, labels_to_network(labels, size, plain))
    assert np.array_equal(labels_from_network(small, shape, PADDED), labels_from_network(small, shape, plain))
    inference = Inference(method="prompted", resize=PADDED)
    point = {1: (shape[1] - 1, 3)}
    assert to_network(point, shape, size, inference) == to_network(point, shape, size, Inference(method="prompted"))


def test_the_padding_is_0_once_the_statistics_are_taken_off():
    large = resize_channels(np.ones((1, 3, 3), np.float32), (8, 8), PADDED)
    seen = standardise(255 * torch.from_numpy(large)[None])[0]
    assert torch.count_nonzero(seen) == 27 and seen[:, 2:5, 2:5].all()  # exactly 0, not nearly
    assert np.allclose(PADDED.padding, np.divide(PIXEL_MEAN, 255), rtol=0, atol=1e-12)


def test_values_of_8_bits():
    values = np.array([[0, 0.49, 0.51, 1.4, 127.4, 127.6, 254.4, 254.6, 255, 300, -3]], np.float32) / 255
    expected = np.array([[0, 0, 1, 1, 127, 128, 254, 255, 255, 255, 0]], np.float32)
    found = round_to_bits(values, 8)
    assert found.dtype == np.float32 and np.array_equal(found, expected / np.float32(255))
    every = np.arange(256, dtype=np.float32)
    assert np.array_equal(round_to_bits(every / np.float32(255), 8) * np.float32(255), every)  # a picture stays itself
    image = np.random.default_rng(0).random((2, 30, 20), np.float32)
    picture = np.round(image.astype(np.float64) * 255).astype(np.uint8)
    assert np.array_equal(np.round(round_to_bits(image, 8) * 255), picture) and len(np.unique(picture)) > 200


class Given(nn.Module):
    """Answers with given logits at a quarter of the image's sides, and keeps what it was shown and asked."""

    def __init__(self, low_resolution: Tensor) -> None:
        super().__init__()
        self.low_resolution = low_resolution

    def encode(self, images):
        self.images = images
        return Embedding(images, [], tuple(images.shape[2:]))

    def decode(self, embedding, points, labels, image_index):
        self.points = points
        logits = interpolate(self.low_resolution, embedding.shape, mode="bilinear", align_corners=False)
        return Masks(logits, torch.ones(1, 1), self.low_resolution)


@pytest.mark.parity
@pytest.mark.parametrize("number", range(4))  # 20 x 24, 48 x 40, 20 x 50 and 32 x 32 for a network of 32 x 32
def test_pictures_labels_points_and_masks_are_the_releases(parity_around, number):
    facts = parity_around("prep_sam_med2d")
    one, size = facts["results"][number], (facts["image_size"],) * 2
    mask = one["mask_png"].numpy().astype(bool)
    picture = one["image_bgr"].numpy().astype(np.float32).transpose(2, 0, 1) / 255  # its channels stay in that order
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, picture.shape) / 255  # which the rounding takes away
    volume = torch.from_numpy((picture + noise).astype(np.float32))[..., None]
    told = [int(value) for value in one["point_coords"][0]]
    if one["pad"] is None:  # a pixel of the mask that comes to lie where the release's point does
        rows, columns = np.nonzero(mask)
        point = int(columns[0]), int(rows[0])
    else:
        point = told[0] - one["pad"][1], told[1] - one["pad"][0]
        assert mask[point[1], point[0]]  # on the stored slice the same pixel of the structure
    network = Given(one["low_res_logits"])
    found = predict_prompted(network, volume, {0: {1: point}}, size, PROMPTED, classes=1, device="cpu")
    assert torch.allclose(standardise(255 * network.images)[0], one["image"], rtol=0, atol=1e-5)
    assert np.array_equal(labels_to_network(mask.astype(np.int64), size, PADDED), one["label"][0])
    assert one["pad"] is None or network.points.tolist() == [[told]]
    assert found.shape == (*mask.shape, 1) and 0 < found.float().mean() < 1
    assert torch.equal(found[..., 0] > 0, one["postprocessed"][0, 0] > 0)


@pytest.mark.parametrize(("point", "place"), [((0, 0), (3, 2)), ((24, 18), (27, 20)), ((24, 0), (27, 2))])
def test_points_at_the_border_stay_on_their_pixel(point, place):
    assert to_network({2: point}, (19, 25), (24, 32), PROMPTED) == {2: place}  # 5 rows: 2 before; 7 columns: 3


class Bright(nn.Module):
    """Foreground where the image is above one half."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([torch.full_like(image, 0.5), image], dim=1)


@pytest.mark.parametrize("shape", [(9, 13), (17, 5)])
def test_whole_images_of_other_networks_are_padded_too(shape):
    image = torch.rand(1, *shape)
    padded = Resize(padding=(0.9,))
    found = predict_enlarged(
        Bright(), image, (20, 16), Inference(method="whole", enlarged="logits", resize=padded), device="cpu"
    )
    assert torch.equal(found > 0, image[0] > 0.5)
    config = load_catalog().run("moe_sam/acdc/moe_sam/seed0", "demo")
    inference = Inference(method="whole", patch=(20, 16), resize=padded, bits=8)
    config = config.model_copy(update={"inference": inference})
    found = predict_image(Bright(), image[..., None].repeat(1, 1, 1, 3), config, device="cpu")
    assert found.shape == (*shape, 3) and torch.equal(
        found > 0, (image[0] * 255).round()[..., None].repeat(1, 1, 3) > 127
    )


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    """Cases of 40 x 37 (smaller than the demo's 64 x 64) and of 70 x 37 pixels, of three slices; one structure reaches
    the corner."""
    generator, cases = np.random.default_rng(0), {}
    for case, rows in (("small", 40), ("long", 70)):
        shape = (rows, 37, 3)
        labels = np.zeros(shape, np.uint8)
        labels[5:20, 5:20, 1:], labels[rows - 1, 36, 2] = 1, 2
        meta = {
            "raw": {"shape": list(shape), "affine": np.eye(4).tolist()},
            "reoriented_shape": list(shape),
            "resampled_shape": list(shape),
            "crop": {"start": [0, 0, 0], "stop": list(shape)},
            "orientation": {"raw": None, "prepared": None},
        }
        image = labels[None] / 3 + generator.random((1, *shape), np.float32) / 9
        cases[case] = image.astype(np.float32), labels, meta
    return PreparedStore.create(
        tmp_path / "store", cases, label_names=("liver", "tumour"), dataset="atlas2023", planes=2
    )


@torch.no_grad()
def by_hand(network: nn.Module, slice_: np.ndarray, points: dict[str, list[int]], *, padded: bool) -> np.ndarray:
    """Labels of one slice [H, W], from a picture that is made and padded here."""
    shape = slice_.shape
    picture = np.round(slice_.astype(np.float64) * 255)
    top, left = (64 - shape[0]) // 2, (64 - shape[1]) // 2
    if padded:
        seen = torch.tensor(PIXEL_MEAN)[:, None, None].repeat(1, 64, 64)
        seen[:, top : top + shape[0], left : left + shape[1]] = torch.from_numpy(picture).float()
    else:
        seen = interpolate(torch.from_numpy(picture).float()[None, None], (64, 64), mode="bilinear")[0].repeat(3, 1, 1)
    embedding = network.encode(seen[None] / 255)
    best, labels = np.zeros(shape), np.zeros(shape, int)
    for value, (x, y) in points.items():
        place = [x + left, y + top]
        if not padded:
            place = [(x + 0.5) * 64 / shape[1] - 0.5, (y + 0.5) * 64 / shape[0] - 0.5]
        asked = torch.tensor([[place]], dtype=torch.float32)
        logits = network.decode(embedding, asked, torch.ones(1, 1, dtype=torch.long), torch.tensor([0])).best().logits
        if padded:
            logits = logits[..., top : top + shape[0], left : left + shape[1]]
        logits = interpolate(logits, shape, mode="bilinear")[0, 0].numpy()
        labels[logits > best] = int(value)
        best = np.maximum(best, logits)
    return labels


def test_a_run_of_the_variant_predicts_small_and_large_slices(store, tmp_path):
    catalog = load_catalog(variant="own_input")
    config = catalog.run(RUN.format("own_input"), "demo")
    torch.manual_seed(0)
    network = build_for_run(config, in_channels=1, out_channels=3).eval()
    save_file(network.state_dict(), tmp_path / "final.safetensors")
    record = {"weights": "final.safetensors", "sha256": file_digest(tmp_path / "final.safetensors"), "made": {}}
    write_json(tmp_path / "trained.json", record)
    split, prompts, out = (
        {"train": [], "val": [], "test": ["small", "long"]},
        tmp_path / "prompts.json",
        tmp_path / "run",
    )
    points = draw_prompts(config, store, split, prompts)["points"]
    weights = weights_at_hand(tmp_path / "trained.json", None)
    predict_run(config, store, split, weights, out / "predicted.json", device=torch.device("cpu"), prompts=prompts)
    assert points["small"]["2"]["2"] == [36, 39]  # in the corner
    for case in ("small", "long"):
        found, image = np.asarray(load(out / f"predictions/{case}.nii.gz").dataobj), store.open(case).image
        assert not found[..., 0].any()  # nothing is asked there
        for number in (1, 2):
            told = points[case][str(number)]
            expected = by_hand(network, np.asarray(image[0, :, :, number]), told, padded=case == "small")
            assert (found[..., number] == expected).mean() > 0.999 and (expected > 0).any()


def test_training_sees_the_same_pictures(store):
    """Whose batches hold padded and resized slices."""
    config = load_catalog().run(RUN.format("own_input"), "demo")
    samples = PatchDataset(store, ["small", "long"], config.training, seed=0)
    for index in range(4):
        (case, number), (image, labels) = samples.sample_of(index), samples[index]
        stored = store.open(case)
        assert image.shape == (3, 64, 64) and labels.shape == (64, 64)
        if case == "long":
            assert torch.equal(image[0], image[2])  # grey
            continue
        seen = (image[:, 12:52, 13:50] * 255).numpy()  # 24 rows and 27 columns are missing
        assert np.array_equal(seen[0], np.round(np.asarray(stored.image[0, :, :, number]) * 255))
        assert np.array_equal(labels[12:52, 13:50], np.asarray(stored.labels[:, :, number]))
        assert labels.count_nonzero() == np.count_nonzero(stored.labels[:, :, number])
        assert image[:, 0, 0].tolist() == pytest.approx(list(PADDED.padding), abs=1e-7)
    dataset = PromptedDataset(samples, "random")
    batch = (torch.stack(part) for part in zip(*(dataset[index] for index in range(4)), strict=True))
    loss = make_objective(config.training, (3,))(build_for_run(config, in_channels=1, out_channels=3), *batch, epoch=0)
    loss.backward()
    assert 0 < loss.item() < 3


@pytest.mark.parametrize("dataset", ["flare22", "atlas2023", "amos_ct", "amos_ct_mri"])
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_variant_differs_in_bits_and_padding_alone(dataset, scale):
    catalog = load_catalog()
    default, own = (
        catalog.run(f"m4oe/{dataset}-{recipe}/sam_med2d/seed0", scale).model_dump()
        for recipe in ("prompt", "own_input")
    )
    for part in (own["inference"], own["training"]["sampling"]):
        assert part.pop("bits") == 8 and part["resize"].pop("padding") == (0.485, 0.456, 0.406)
    assert {**own, "run": default["run"]} == default
    assert catalog.run(f"m4oe/{dataset}-own_input/sam_med2d/seed0").training_id is None  # released weights


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": 8}, "of whole images"),
        ({"method": "slices", "resize": {"padding": [0]}}, "of whole images"),
        ({"method": "whole", "network_grid": True, "resize": {"padding": [0]}}, "neither with network_grid"),
        ({"method": "whole", "first_stage": {"patch": [8, 8, 8], "margin": 1}, "resize": {"padding": [0]}}, "nor with"),
        ({"method": "whole", "resize": {"padding": [0, 0, 0]}}, "the method prompted"),
        ({"method": "whole", "resize": {"padding": [0], "through": [20, 20]}}, "choose one"),
        ({"method": "whole", "resize": {"padding": []}}, "at least 1 item"),
        ({"method": "whole", "bits": 12}, "Input should be 8"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        Inference(**settings)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"strategy": "foreground_voxel", "bits": 8}, "of whole images"),
        ({"strategy": "foreground_voxel", "resize": {"padding": [0]}}, "of whole images"),
        ({"strategy": "whole", "resize": {"padding": [0, 0, 0]}}, "objective prompted"),
    ],
)
def test_training_refuses_them_too(sampling, words):
    training = load_catalog().run(RUN.format("prompt")).training.model_dump()
    with pytest.raises(ValidationError, match=words):
        Training(**{**training, "objective": "segmentation", "prompted": None, "sampling": sampling})


@pytest.mark.parametrize("part", ["inference", "training"])
def test_bits_need_values_from_0_to_1(part):
    config = load_catalog().run(RUN.format("own_input")).model_dump()
    config["preparation"]["normalise"] = "zscore"
    kept = config["inference"] if part == "training" else config["training"]["sampling"]
    kept["bits"] = None
    with pytest.raises(ValidationError, match=rf"{part}.*bits is of values from 0 to 1"):
        RunConfig(**config)
    for ranged in (config["inference"], config["training"]["sampling"]):
        ranged["slice_range"] = "unit"
    assert RunConfig(**config).inference.slice_range == "unit"


def test_a_padding_has_a_value_for_each_channel_of_an_image():
    with pytest.raises(InputError, match="does not fit the channels"):
        resize_channels(np.zeros((2, 4, 4), np.float32), (8, 8), PADDED)
