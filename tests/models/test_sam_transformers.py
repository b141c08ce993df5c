"""SAM against a second implementation: `SamModel` of Hugging Face's transformers, with the same weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig

from benchmark.models.layers.sam.sizes import DEMO_SIZE, PATCH, sam_size
from benchmark.models.registry import build
from speed.sam_encoder import their_configuration

SIDE = 96
KEYS = (  # transformers' names, and the released ones
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm([12])\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^(shared_image|prompt_encoder\.shared)_embedding\.positional_embedding$",
     "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.layer_norm(\d)\.", r"mask_decoder.transformer.layers.\1.norm\2."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.(?:output|iou).*)\.layers\.0\.", r"\1.layers.1."),
    (r"^(mask_decoder\.(?:output|iou).*)\.proj_in\.", r"\1.layers.0."),
    (r"^(mask_decoder\.(?:output|iou).*)\.proj_out\.", r"\1.layers.2."),
)  # fmt: skip
POINT = {"points": [[[30.0, 41.0]]], "labels": [[1]]}
BOX = {"boxes": [[10.0, 20.0, 60.0, 75.0]]}
PROMPTS = {  # of one query, as ours takes them
    "a point": POINT,
    "points for and against": {"points": [[[30.0, 41.0], [70.5, 12.0], [5.0, 90.0]]], "labels": [[1, 0, 1]]},
    "a box": BOX,
    "a box and a point": POINT | BOX,
}


def released_name(name: str) -> str:
    for pattern, other in KEYS:
        name, found = re.subn(pattern, other, name)
        if found:
            break
    return name


@pytest.fixture(scope="module")
def theirs() -> SamModel:
    sizes = sam_size(DEMO_SIZE)
    vision = their_configuration(sizes, SIDE)
    prompts = SamPromptEncoderConfig(hidden_size=sizes.channels, image_size=SIDE, patch_size=PATCH)
    decoder = SamMaskDecoderConfig(
        hidden_size=sizes.channels, mlp_dim=sizes.decoder_hidden, iou_head_hidden_dim=sizes.quality_hidden
    )
    parts = {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}
    configs = {name: part.to_dict() for name, part in parts.items()}
    torch.manual_seed(0)
    network = SamModel(SamConfig(**configs)).eval()
    for parameter in network.parameters():  # tables of positions begin at zero, norms at one
        nn.init.normal_(parameter, std=0.2)
    network.prompt_encoder.shared_embedding = network.shared_image_embedding  # as released: one table of frequencies
    return network


@pytest.fixture(scope="module")
def ours(theirs: SamModel) -> nn.Module:
    """With their weights; every name of theirs has its place in ours, and none of ours is left over."""
    network = build("sam", in_channels=3, out_channels=2, spatial_shape=(SIDE, SIDE), size=DEMO_SIZE, trained="all")
    network.load_state_dict({released_name(name): value for name, value in theirs.state_dict().items()})
    return network.eval()


def images() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("choice", [True, False])
def test_masks_and_their_quality_are_those_of_transformers(
    ours: nn.Module, theirs: SamModel, prompt: str, choice: bool
) -> None:
    given = {name: torch.tensor(value) for name, value in PROMPTS[prompt].items()}
    batched = {f"input_{name}": value[None] for name, value in given.items()}
    with torch.no_grad():
        expected = theirs(pixel_values=images(), multimask_output=choice, **batched)
        embedding = ours.image_encoder(images()).embedding
        masks, quality = ours.mask_decoder(embedding, ours.prompt_encoder.grid_code(), *ours.prompt_encoder(**given))
    chosen = slice(1, None) if choice else slice(0, 1)
    torch.testing.assert_close(masks[:, chosen], expected.pred_masks[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quality[:, chosen], expected.iou_scores[0], rtol=1e-4, atol=1e-5)


def test_a_mask_as_prompt_and_the_gradients_of_the_image(ours: nn.Module, theirs: SamModel) -> None:
    mask = torch.randn(1, 1, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(2))
    point = {name: torch.tensor(value) for name, value in POINT.items()}
    batched = {f"input_{name}": value[None] for name, value in point.items()}
    gradients = []
    for number in range(2):
        image = images().requires_grad_()
        if number == 0:
            masks = theirs(pixel_values=image, input_masks=mask, multimask_output=True, **batched).pred_masks[0]
        else:
            prompts = ours.prompt_encoder(**point, masks=mask)
            embedding = ours.image_encoder(image).embedding
            masks = ours.mask_decoder(embedding, ours.prompt_encoder.grid_code(), *prompts)[0][:, 1:]
        masks.square().mean().backward()
        gradients.append(image.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))
