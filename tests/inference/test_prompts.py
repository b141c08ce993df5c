"""Prediction from points: pasting by hand, one encoder pass a slice, places after resizing, and wrong input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy import ndimage
from torch import nn
from torch.nn.functional import interpolate

from benchmark.catalog import load_catalog
from benchmark.data.draw_prompts import draw_prompts
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import file_digest, write_json
from benchmark.inference.predict import predict_run
from benchmark.inference.prompts import predict_prompted, to_network
from benchmark.models.layers.sam.prompted import Embedding, Masks
from benchmark.models.registry import available_models, build, build_for_run, model_entry
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import Inference
from benchmark.training.objectives import make_objective

PROMPTED = [name for name in available_models() if model_entry(name).prompted]


class Discs(nn.Module):
    """Masks that are cones around their points, of height 5 less the distance; counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded, self.decoded = [], 0

    def encode(self, images):
        self.encoded.append(len(images))
        return Embedding(images, [], tuple(images.shape[2:]))

    def decode(self, embedding, points, labels, image_index):
        self.decoded += len(points)
        assert labels.unique().tolist() == [1] and points.shape[1:] == (1, 2)
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in embedding.shape), indexing="ij")
        x, y = points[:, 0, 0, None, None], points[:, 0, 1, None, None]
        cones = 5 - torch.hypot(columns - x, rows - y)
        return Masks(torch.stack([cones - 99, cones], dim=1), torch.tensor([[0.0, 1.0]] * len(points)), cones)


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("axis", [0, 2])
def test_masks_are_pasted_by_the_higher_logit_and_a_slice_is_encoded_once(batch, axis):
    image = torch.zeros(1, 24, 20, 6).movedim(3, axis + 1)
    points = {1: {1: (5, 8), 3: (9, 8)}, 4: {2: (19, 0)}, 3: {k: (k, k) for k in range(1, 4)}}
    settings = Inference(method="prompted", window_batch=batch, slice_axis=axis)
    network = Discs()
    labels = predict_prompted(network, image, points, (24, 20), settings, classes=3, device="cpu").movedim(axis, -1)
    assert labels.shape == (24, 20, 6) and labels.dtype == torch.int16
    assert sum(network.encoded) == 3 and max(network.encoded) <= batch  # six slices, six points
    assert network.decoded == 6
    assert not labels[..., [0, 2, 5]].any()
    rows, columns = np.indices((24, 20))
    cones = np.stack([np.zeros((24, 20)), *(5 - np.hypot(columns - x, rows - 8) for x in (5, 9))])
    assert np.array_equal(labels[..., 1].numpy(), np.array([0, 1, 3])[cones.argmax(axis=0)])
    assert labels[8, 7, 1] == 1  # of equal ones the first
    assert labels[0, 19, 4] == 2 and labels[5, 19, 4] == 0


@pytest.mark.parametrize("how", ["floor", "zoom1"])
def test_logits_of_each_mask_come_back_before_the_higher_is_taken(how):
    points, shape, size = {0: {1: (10, 14), 2: (21, 15)}}, (50, 45), (24, 20)
    settings = Inference(method="prompted", enlarged="logits", resize={"image": how, "labels": "floor"})
    found = predict_prompted(Discs(), torch.zeros(1, *shape, 2), points, size, settings, classes=2, device="cpu")
    assert found.shape == (*shape, 2) and not found[..., 1].any()
    rows, columns = np.indices(size)
    masks = [np.zeros(shape)]
    for x, y in to_network(points[0], shape, size, settings).values():
        cone = 5 - np.hypot(columns - x, rows - y)
        if how == "zoom1":
            masks.append(ndimage.zoom(cone, np.array(shape) / size, order=1))
        else:
            masks.append(interpolate(torch.from_numpy(cone)[None, None], shape, mode="bilinear")[0, 0].numpy())
    highest = np.sort(masks, axis=0)
    clear = highest[-1] - highest[-2] > 1e-4  # rounding may decide elsewhere
    assert np.array_equal(found[..., 0].numpy()[clear], np.argmax(masks, axis=0)[clear]) and clear.mean() > 0.9
    assert found[14, 10, 0] == 1 and found[15, 21, 0] == 2


def test_masks_have_no_probabilities_of_classes():
    with pytest.raises(ValidationError, match="enlarged belongs to the method whole"):
        Inference(method="prompted", enlarged="probabilities")


@pytest.mark.parametrize(
    ("resize", "place"), [({}, (5.5, 17.5)), ({"image": "zoom3", "labels": "zoom0"}, (3 * 15 / 7, 6 * 29 / 9))]
)
def test_points_move_with_the_pixels(resize, place):
    moved = to_network(
        {1: (2 if not resize else 3, 5 if not resize else 6)}, (10, 8), (30, 16), Inference(resize=resize)
    )
    expected = (4.5, 16.0) if not resize else place
    assert moved[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({6: {1: (0, 0)}}, "outside of the volume"),
        ({0: {1: (20, 0)}}, "outside of the volume"),
        ({0: {1: (0, 24)}}, "outside of the volume"),
        ({0: {4: (0, 0)}}, "a class that there is not"),
    ],
)
def test_wrong_points_are_refused(points, words):
    settings = Inference(method="prompted")
    with pytest.raises(InputError, match=words):
        predict_prompted(Discs(), torch.zeros(1, 24, 20, 6), points, (24, 20), settings, classes=3, device="cpu")


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    generator, cases = np.random.default_rng(0), {}
    for case in ("a", "b"):
        labels = np.zeros((40, 36, 4), np.uint8)
        labels[5:20, 5:20, 1:], labels[22:30, 20:30, 2] = 1, 2
        meta = {
            "raw": {"shape": [40, 36, 4], "affine": np.eye(4).tolist()},
            "reoriented_shape": [40, 36, 4],
            "resampled_shape": [40, 36, 4],
            "crop": {"start": [0, 0, 0], "stop": [40, 36, 4]},
            "orientation": {"raw": None, "prepared": None},
        }
        cases[case] = (labels[None] / 4 + generator.random((1, 40, 36, 4), np.float32) / 9, labels, meta)
    return PreparedStore.create(
        tmp_path / "store", cases, label_names=("one", "two", "three"), dataset="acdc", planes=2
    )


@pytest.mark.parametrize("name", PROMPTED)
def test_every_prompted_network_trains_a_step_and_predicts_from_the_shared_file(name, store, tmp_path):
    split = {"train": ["a"], "val": [], "test": ["b"]}
    config = load_catalog().run(f"moe_sam/acdc-prompt/{name}/seed0", "demo")
    torch.manual_seed(0)
    network = build_for_run(config, in_channels=1, out_channels=4)
    masks = torch.zeros(2, 64, 64)
    masks[:, 20:40, 20:40] = 1
    batch = torch.rand(2, 1, 64, 64), masks, torch.tensor([[[30.0, 30.0]]] * 2), torch.ones(2, 1, dtype=torch.long)
    loss = make_objective(config.training, (4,))(network, *batch, epoch=0)
    loss.backward()
    assert 0 < loss.item() < 2 and any(parameter.grad is not None for parameter in network.parameters())

    save_file(network.state_dict(), tmp_path / "final.safetensors")
    record = {"weights": "final.safetensors", "sha256": file_digest(tmp_path / "final.safetensors"), "made": {}}
    write_json(tmp_path / "trained.json", record)
    prompts, out = tmp_path / "prompts.json", tmp_path / "run/predicted.json"
    draw_prompts(config, store, split, prompts)
    weights = weights_at_hand(tmp_path / "trained.json", None)
    passes = count_passes(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.inference.predict.load_network", lambda *_: passes(network.eval()))
        done = predict_run(config, store, split, weights, out, device=torch.device("cpu"), prompts=prompts)
    assert passes.images == 3 and "prompts" in done["made"]  # of four slices one shows nothing; four points
    assert (
        Path(tmp_path / "run/predictions/b.nii.gz").is_file() and Path(tmp_path / "run/network_grid/b.nii.gz").is_file()
    )
    with pytest.raises(InputError, match="needs points"):
        predict_run(config, store, split, weights, out, device=torch.device("cpu"))


def count_passes(name: str):
    """A function that hooks the encoder of a network and counts the images that go through."""

    def hook(network: nn.Module) -> nn.Module:
        def seen(_, arguments):
            hook.images += len(arguments[0])

        network.image_encoder.register_forward_pre_hook(seen)
        return network

    hook.images = 0
    return hook


def test_a_network_that_answers_to_no_point_is_refused():
    config = load_catalog().run("moe_sam/acdc-prompt/sam/seed0", "demo")
    other = config.model_copy(update={"model": config.model.model_copy(update={"name": "samed"})})
    with pytest.raises(InputError, match="samed does not answer to points"):
        build_for_run(other, in_channels=1, out_channels=4)


def test_a_query_for_all_classes_has_too_few_masks_or_no_mask_of_its_own():
    small = model_entry("sam").demo["size"]
    made = {"in_channels": 1, "spatial_shape": (64, 64), "size": small}
    with pytest.raises(InputError, match="a query has 4 masks, too few for 13 classes"):
        build("sam", out_channels=14, mask_choice="all", **made)
    network = build("msa", out_channels=4, mask_choice="all", **made)
    with pytest.raises(ValueError, match="no mask of its own"):
        network(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 2), torch.ones(1, 1))
