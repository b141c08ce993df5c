"""SAM against the released network: every prompt, every size, the published keys and counts."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import assert_gradient, counts, full, largest, small
from torch import nn

from benchmark.errors import InputError
from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import available_models, build, model_entry

TOLERANCE = 5e-6  # at 1e-5 a decoder with the encoder's eps would pass
BATCH = torch.tensor([0, 0])


@pytest.fixture
def fixture(parity):
    return parity("sam")


@pytest.mark.parity
def test_the_image_encoder_and_its_layers(fixture):
    model, output = small("sam", fixture), fixture["output"]
    prepared = model.prepare(fixture["input"]["image"] / 255)
    assert largest(prepared, output["preprocessed"]) < 1e-6
    embedding, layers = model.image_encoder(output["preprocessed"], range(4))
    assert largest(embedding, output["image_embeddings"]) < TOLERANCE
    for found, expected in zip(layers, fixture["block_outputs"], strict=True):
        assert largest(found, expected) < 2 * TOLERANCE  # values up to 9
    assert [len(model.image_encoder(prepared, keep).layers) for keep in ((), (1,), (1, 3))] == [0, 1, 2]


@pytest.mark.parity
@pytest.mark.parametrize(("choice", "name"), [("single", "single"), ("best_of_three", "multimask")])
def test_masks_of_points_and_the_gradient(fixture, choice, name):
    """One image, two queries of one point each; the image is encoded once."""
    model, given, output = small("sam", fixture, mask_choice=choice, trained="all"), fixture["input"], fixture["output"]
    image = (given["image"] / 255).requires_grad_()
    masks = model.decode(model.encode(image), given["point_coords"], given["point_labels"], BATCH)
    assert largest(masks.low_resolution, output[f"masks_{name}_points"]) < TOLERANCE
    assert largest(masks.predicted_iou, output[f"iou_{name}_points"]) < TOLERANCE
    assert masks.logits.shape == (2, len(output[f"iou_{name}_points"][0]), 128, 128)
    if name == "multimask":
        assert_gradient(masks.low_resolution, image, fixture["grad_norm"], scale=1 / 255)
        resized = nn.functional.interpolate(masks.logits, (100, 120), mode="bilinear")
        assert largest(resized, output["postprocessed_128_to_100x120"]) < TOLERANCE


@pytest.mark.parity
def test_masks_of_boxes_masks_points_with_boxes_and_nothing(fixture):
    model, given, output = small("sam", fixture), fixture["input"], fixture["output"]
    embedding, first = model.encode(given["image"] / 255), torch.tensor([0])
    masks = model.decode(embedding, None, None, first, boxes=given["box"], masks=given["mask_input"])
    assert largest(masks.low_resolution, output["masks_box_mask"]) < TOLERANCE
    assert largest(masks.predicted_iou, output["iou_box_mask"]) < TOLERANCE
    model.mask_choice = "best_of_three"
    assert largest(model.decode(embedding, None, None, first).low_resolution, output["masks_no_prompt"]) < TOLERANCE
    point = given["point_coords"][:1], given["point_labels"][:1]
    masks = model.decode(embedding, *point, first, boxes=given["box"])
    assert largest(masks.low_resolution, output["masks_point_and_box"]) < TOLERANCE
    encoder = model.prompt_encoder
    assert largest(encoder.grid_code(), output["dense_pe"]) < TOLERANCE
    assert largest(encoder(boxes=given["box"]).sparse, output["sparse_box"]) < TOLERANCE
    assert largest(encoder(masks=given["mask_input"]).dense, output["dense_mask"]) < TOLERANCE


@pytest.mark.parity
def test_prompts_of_every_kind(parity_around):
    given = parity_around("prompt_encoder")
    encoder = PromptEncoder(given["embed_dim"], given["grid"], given["input_size"])
    encoder.load_state_dict(given["state_dict"], strict=True)
    points = {"points": given["points"], "labels": given["labels"]}
    one = {"points": given["points"][:, :1], "labels": given["labels"][:, :1]}
    prompts = {
        "one_point": one,
        "points": points,
        "box": {"boxes": given["boxes"]},
        "points_and_box": points | {"boxes": given["boxes"]},
        "mask": {"masks": given["masks"]},
        "point_and_mask": one | {"masks": given["masks"]},
        "nothing": {},
    }
    assert set(prompts) == set(given["outputs"])
    for name, expected in given["outputs"].items():
        sparse, dense = encoder(**prompts[name])
        torch.testing.assert_close(sparse, expected["sparse"], rtol=0, atol=TOLERANCE)
        assert list(dense.shape) == expected["dense_shape"], name
        torch.testing.assert_close(dense, expected["dense"].expand(dense.shape), rtol=0, atol=TOLERANCE)
    assert largest(encoder.grid_code(), given["dense_pe"]) < TOLERANCE


@pytest.mark.parity
def test_prompts_with_a_vector_for_each_of_nine_labels(parity_around):
    given = parity_around("prompt_encoder")
    encoder = PromptEncoder(given["embed_dim"], given["grid"], given["input_size"], kinds=11)
    encoder.load_state_dict(given["h_sam"]["state_dict"], strict=True)
    sparse = encoder(points=given["h_sam"]["points"], labels=given["h_sam"]["labels"]).sparse
    torch.testing.assert_close(sparse, given["h_sam"]["sparse"], rtol=0, atol=TOLERANCE)
    sparse = encoder(boxes=given["boxes"]).sparse
    torch.testing.assert_close(sparse, given["h_sam"]["box_sparse"], rtol=0, atol=TOLERANCE)


def test_norms_have_the_released_eps():
    """The fixtures' outputs move by no more than 1e-5 with a wrong one."""
    model = build("sam", in_channels=1, out_channels=2, spatial_shape=(64, 64), size=DEMO_SIZE)
    kinds = {nn.LayerNorm: 0, ChannelNorm: 0}
    for name, norm in model.named_modules():
        if type(norm) in kinds:
            kinds[type(norm)] += 1
            assert norm.eps == (1e-5 if "mask_decoder.transformer" in name else 1e-6), name
    assert kinds == {nn.LayerNorm: 2 * 4 + 2 * 4 + 1, ChannelNorm: 2 + 2 + 1}


@pytest.mark.parity
def test_released_keys_and_shapes(reference):
    assert shapes(full("sam", 1024)) == dict(read_keys(reference("models/sam_vit_b.keys.json.gz")))


def test_counts(reference):
    totals = {1024: 93_735_472, 512: 91_343_408, 256: 90_737_200, 224: 90_689_072}
    for side, total in totals.items():
        assert counts(full("sam", side, trained="all")) == (total, total)
    assert counts(full("sam", 256)) == (90_737_200, 4_058_340)
    assert counts(full("sam", 256, fusion="add")) == (90_737_200 + 787_456, 4_845_796)
    assert counts(full("sam", 256, trained="all_but_prompts"))[1] == 90_730_980
    facts = json.loads(reference("models/sam_vit_b.json").read_text())
    parts = {name: counts(part)[0] for name, part in full("sam", 1024).named_children()}
    assert parts == facts["params_by_part"]


@pytest.mark.parametrize(("size", "width", "depth"), [("vit_l", 1024, 24), ("vit_h", 1280, 32)])
def test_larger_sizes(size, width, depth):
    """Parameters multiplied out by hand, and that each block's table fits what it attends to."""
    model, grid, head = full("sam", 1024, size=size), 64, width // 16
    block = 12 * width**2 + 13 * width  # attention, perceptron, norms
    tables = 2 * head * ((depth - 4) * 27 + 4 * (2 * grid - 1))
    neck = width * 256 + 9 * 256**2 + 4 * 256
    encoder = 768 * width + width + grid**2 * width + depth * block + tables + neck
    assert counts(model)[0] == encoder + 6_220 + 4_058_340
    long = [i for i, blocks in enumerate(model.image_encoder.blocks) if len(blocks.attn.rel_pos_h) == 127]
    assert long == {"vit_l": [5, 11, 17, 23], "vit_h": [7, 15, 23, 31]}[size]


@pytest.mark.parametrize("name", [name for name in available_models() if model_entry(name).prompted])
def test_a_prompted_network_answers_many_points_with_one_encoding(name):
    """Queries do not mix, the index picks the image, and padding of a smaller image changes no coordinate."""
    torch.manual_seed(0)
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96), **model_entry(name).demo}
    model, images = build(name, **options).eval(), torch.rand(2, 1, 61, 90)
    points = torch.rand(5, 2, 2) * torch.tensor([90.0, 61.0])
    labels, index = torch.tensor([[1, 0], [1, -1], [0, 1], [1, 1], [-1, 1]]), torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        embedding = model.encode(images)
        masks = model.decode(embedding, points, labels, index)
        assert masks.logits.shape == (5, masks.predicted_iou.shape[1], 61, 90)
        for query in range(5):
            one = slice(query, query + 1)
            alone = model.decode(model.encode(images[index[one]]), points[one], labels[one], torch.tensor([0]))
            torch.testing.assert_close(alone.logits[0], masks.logits[query], rtol=1e-3, atol=1e-4)
        best = masks.best()
    assert best.logits.shape == (5, 1, 61, 90)
    highest = masks.predicted_iou.max(dim=1).values
    assert torch.equal(best.predicted_iou[:, 0], highest)
    rows = [masks.predicted_iou[query].tolist().index(highest[query].item()) for query in range(5)]
    assert all(torch.equal(best.logits[query, 0], masks.logits[query, row]) for query, row in enumerate(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 2}, "in_channels is 1 or 3"),
        ({"out_channels": 1}, "counts the background too"),
        ({"size": "vit_g"}, "size is one of vit_b, vit_l, vit_h"),
        ({"size": DEMO_SIZE | {"heads": 5}}, "divisible by heads"),
        ({"size": {"width": 32, "depth": 2, "heads": 2}}, "global_blocks"),
        ({"size": DEMO_SIZE | {"with": 3}}, "unexpected keyword argument 'with'"),
        ({"fusion": "ad"}, "did you mean 'add'"),
        ({"mask_choice": "best"}, "mask_choice is one of"),
        ({"trained": "encoder"}, "trained is one of"),
    ],
)
def test_illegal_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        build("sam", **{"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 64), "size": DEMO_SIZE} | options)
