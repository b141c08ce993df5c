"""MedSAM, SAM-Med2D, MSA and SAMed against the released networks, their keys and their counts."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import assert_gradient, counts, full, largest, small
from torch import nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.msa import ThreeAdapterBlock, folded
from benchmark.models.registry import build

TOLERANCE = 1e-5
EACH = torch.arange(2)  # a query on each of the fixtures' two images


@pytest.mark.parity
def test_medsam(parity):
    fixture = parity("medsam")
    model, given, output = small("medsam", fixture), fixture["input"], fixture["output"]
    image = given["image"].requires_grad_()
    masks = model.decode(model.encode(image), None, None, EACH, boxes=given["box"])
    assert largest(masks.logits, output["masks_up"]) < TOLERANCE
    assert largest(masks.low_resolution, output["low_res_masks"]) < TOLERANCE
    assert_gradient(masks.logits, image, fixture["grad_norm"])
    masks = model.decode(model.encode(image), given["point_coords"], given["point_labels"], EACH)
    assert largest(masks.low_resolution, output["low_res_masks_1pt"]) < TOLERANCE


@pytest.mark.parity
def test_sam_med2d(parity):
    fixture = parity("sam_med2d")
    model, given, output = small("sam_med2d", fixture, statistics=False), fixture["input"], fixture["output"]
    image = given["image"].requires_grad_()
    embedding = model.encode(image)
    masks = model.decode(embedding, given["point_coords"], given["point_labels"], EACH)
    assert largest(embedding.features, output["image_embeddings"]) < TOLERANCE
    assert largest(masks.low_resolution, output["masks"]) < TOLERANCE
    assert largest(masks.predicted_iou, output["iou"]) < TOLERANCE
    assert largest(masks.best().low_resolution, output["best_mask"]) < TOLERANCE
    assert torch.equal(masks.predicted_iou.argmax(1), output["best_index"])
    assert_gradient(masks.low_resolution, image, fixture["grad_norm"])
    again = model.decode(embedding, None, None, EACH, boxes=given["box"], masks=given["mask_input_sigmoid"])
    assert largest(again.low_resolution, output["masks_box_mask"]) < TOLERANCE
    assert largest(again.predicted_iou, output["iou_box_mask"]) < TOLERANCE


@pytest.mark.parity
def test_msa(parity):
    fixture = parity("msa")
    model, given, output = small("msa", fixture), fixture["input"], fixture["output"]
    image = (given["image"] / 255).requires_grad_()
    embedding = model.encode(image)
    masks = model.decode(embedding, given["point_coords"], given["point_labels"], EACH)
    assert largest(embedding.features, output["image_embeddings"]) < TOLERANCE
    sparse = model.prompt_encoder(given["point_coords"], given["point_labels"]).sparse
    assert largest(sparse, output["sparse"]) < TOLERANCE
    assert largest(masks.low_resolution, output["masks"]) < TOLERANCE
    assert largest(masks.logits, output["masks_up"]) < TOLERANCE
    assert largest(masks.predicted_iou, output["iou"]) < TOLERANCE
    assert_gradient(masks.low_resolution, image, fixture["grad_norm"], scale=1 / 255)


@pytest.mark.parity
def test_samed(parity):
    fixture = parity("samed")
    model, output = small("samed", fixture, classes=6), fixture["output"]
    image = fixture["input"]["image"].requires_grad_()
    logits, quarter = model(image)
    assert largest(logits, output["masks"]) < TOLERANCE
    assert largest(quarter, output["low_res_logits"]) < TOLERANCE
    assert largest(model.sam.unprompted(image)[1], output["iou"]) < TOLERANCE
    assert_gradient(logits, image, fixture["grad_norm"])


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "side", "file", "options"),
    [
        ("medsam", 1024, "sam_vit_b", {}),
        ("sam_med2d", 256, "sam_med2d", {}),
        ("msa", 256, "msa", {}),
        ("samed", 224, "samed", {"classes": 9}),
    ],
)
def test_released_keys_and_shapes(name, side, file, options, reference):
    assert shapes(full(name, side, **options)) == dict(read_keys(reference(f"models/{file}.keys.json.gz")))


COUNTS = [  # network, side, options, all parameters, those with gradients
    ("medsam", 1024, {}, 93_735_472, 93_729_252),
    ("sam_med2d", 256, {}, 271_241_776, 184_569_136),
    ("sam_med2d", 224, {}, 271_193_648, 184_569_136),
    ("sam_med2d", 256, {"fusion": "add"}, 271_241_776 + 787_456, 185_356_592),
    ("msa", 256, {}, 104_337_712, 14_715_952),
    ("msa", 224, {}, 104_335_664, 14_715_952),
    ("msa", 1024, {}, 104_386_864, 14_715_952),
    ("msa", 256, {"classes": 9, "mask_choice": "all"}, 104_898_996, 14_715_952 + 561_284),
    ("msa", 256, {"classes": 14, "mask_choice": "all"}, 105_600_601, 14_715_952 + 1_262_889),
    ("samed", 224, {"classes": 9}, 91_538_133, 4_913_621),
    ("samed", 512, {"classes": 9}, 92_192_469, 4_913_621),
    ("samed", 256, {"classes": 8}, 91_445_940, 4_773_300),
    ("samed", 256, {"classes": 14}, 92_287_866, 5_615_226),
    ("samed", 256, {"classes": 4}, 90_884_656, 4_212_016),
    ("samed", 256, {"classes": 8, "fusion": "add"}, 91_445_940 + 787_456, 5_560_756),
]


@pytest.mark.parametrize(("name", "side", "options", "total", "trained"), COUNTS)
def test_counts(name, side, options, total, trained):
    assert counts(full(name, side, **options)) == (total, trained)


def test_what_of_sam_med2d_can_change():
    """184,563,684 parameters; the vectors of points and the path of mask prompts get no gradient."""
    model = build("sam_med2d", in_channels=1, out_channels=2, spatial_shape=(64, 64), size=DEMO_SIZE)
    box, point = torch.tensor([[5.0, 6, 40, 50]]), torch.tensor([[[8.0, 9]]])
    masks = model.decode(model.encode(torch.rand(1, 1, 64, 64)), point, torch.ones(1, 1), torch.tensor([0]), boxes=box)
    masks.best().logits.sum().add(masks.best().predicted_iou.sum()).backward()
    moving = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    idle = {name for name, p in model.named_parameters() if p.requires_grad} - moving
    assert idle == {name for name in idle if name.startswith("prompt_encoder.")}
    sizes = {name: parameter.numel() for name, parameter in full("sam_med2d", 256).named_parameters()}
    changing = ("Adapter", "mask_decoder", "no_mask_embed", "point_embeddings.2", "point_embeddings.3")
    assert sum(size for name, size in sizes.items() if any(part in name for part in changing)) == 184_563_684
    assert {name.removesuffix(".weight") for name in moving if name.startswith("prompt_encoder.")} == {
        f"prompt_encoder.{part}" for part in ("no_mask_embed", "point_embeddings.2", "point_embeddings.3")
    } - {"prompt_encoder.mask"}


def test_adapters_have_the_released_eps():
    """SAM-Med2D's own norm is the one token norm of an encoder with 1e-5; its fixture moves by 2e-6 only."""
    options = {"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 64), "size": DEMO_SIZE}
    for name in ("sam_med2d", "msa", "samed"):
        encoder = next(module for module in build(name, **options).modules() if hasattr(module, "patch_embed"))
        for key, norm in encoder.named_modules():
            if isinstance(norm, nn.LayerNorm):
                assert norm.eps == (1e-5 if key.endswith("Adapter.norm") else 1e-6), key


def test_a_grid_of_odd_sides_passes_the_convolutions():
    model = build("sam_med2d", in_channels=1, out_channels=2, spatial_shape=(48, 80), size=DEMO_SIZE)
    assert model.encode(torch.rand(1, 1, 48, 80)).features.shape == (1, 32, 3, 5)


def test_a_query_for_all_classes_takes_the_first_masks():
    options = {"in_channels": 1, "spatial_shape": (64, 64), "size": DEMO_SIZE, "mask_choice": "all"}
    for classes, tokens in ((3, 4), (7, 7)):
        model = build("msa", out_channels=1 + classes, **options).eval()
        images, point = torch.rand(2, 1, 64, 64), torch.tensor([[[32.0, 32]]] * 2)
        masks = model.decode(model.encode(images), point, torch.ones(2, 1), EACH)
        assert masks.predicted_iou.shape == (2, classes) and model.mask_decoder.mask_tokens.num_embeddings == tokens
        logits = model(images)
        assert torch.equal(logits[:, 1:], masks.logits) and not logits[:, 0].any()
    with pytest.raises(InputError, match="4 masks, too few for 7 classes"):
        build("sam", out_channels=8, **options)


@pytest.mark.parametrize(("length", "sides"), [(2, (1, 2)), (4, (1, 4)), (6, (2, 3)), (16, (2, 8)), (20, (4, 5))])
def test_how_msa_folds_the_slices_of_a_chunk(length, sides):
    """The first three are those of the description of the release's search."""
    assert folded(length) == sides


@pytest.mark.parametrize("window", [2, None])
def test_msa_attends_from_slice_to_slice_within_chunks(window):
    """Place by place, in plain loops: a sequence of four is a grid of 1 x 4, with tables of 1 and 7 rows."""
    torch.manual_seed(0)
    block = ThreeAdapterBlock(8, 2, (2, 2), window, volumes=True, chunk=4).double()
    for table in (block.attn.rel_h, block.attn.rel_w):
        torch.nn.init.normal_(table)
    tokens = torch.randn(8, 2, 2, 8, dtype=torch.float64)
    found = block.along_depth(tokens)
    rows = functional.interpolate(block.attn.rel_h.T[None], 1, mode="linear")[0].T
    columns = functional.interpolate(block.attn.rel_w.T[None], 7, mode="linear")[0].T
    for first, row, column in itertools.product((0, 4), (0, 1), (0, 1)):
        sequence = block.norm1(tokens[first : first + 4, row, column])
        query, key, value = block.attn.qkv(sequence).unflatten(-1, (3, 2, 4)).permute(1, 2, 0, 3)
        logits = query @ key.transpose(1, 2) / 2
        for i, j in itertools.product(range(4), range(4)):
            logits[:, i, j] += query[:, i] @ rows[0] + query[:, i] @ columns[i - j + 3]
        attended = (logits.softmax(-1) @ value).transpose(0, 1).flatten(1)
        expected = block.Depth_Adapter(block.attn.proj(attended))
        assert torch.allclose(found[first : first + 4, row, column], expected, atol=1e-12)
    without = ThreeAdapterBlock(8, 2, (2, 2), window).double()
    without.load_state_dict(block.state_dict())
    assert torch.allclose(block.adapted(tokens), without.adapted(tokens) + found, atol=1e-12)


def test_msa_for_volumes_trains_its_depth_adapters_and_refuses_half_a_chunk():
    options = {"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 64), "size": DEMO_SIZE}
    model = build("msa", **options, volumes=True, chunk=2)
    slices = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    places, labels = torch.full((4, 1, 2), 32.0), torch.ones(4, 1, dtype=torch.long)
    model(slices, places, labels)[0].square().mean().backward()
    gradients = [one.grad for name, one in model.named_parameters() if "Depth_Adapter" in name]
    assert gradients and all(gradient is not None and gradient.any() for gradient in gradients)
    with torch.no_grad():
        moved = model.encode(torch.cat([slices[:1] + 0.1, slices[1:]])).features - model.encode(slices).features
        assert moved[1].any()  # the first slice is seen by the second one
        with pytest.raises(InputError, match="whole chunks"):
            build("msa", **options, volumes=True, chunk=3).encode(slices)
