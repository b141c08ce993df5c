"""MoE-SAM: SAM that prompts itself, on an embedding into which experts have mixed all layers of its encoder.

Paper: MoE-SAM (Table 1, and Tables 2 and 3 for its parts). Released as E-SAM: Asphyxiate-Rye/E-SAM @f405c27 (MIT); no
weights. State-dict keys are its own, except that the fusion's (`neck5`, `ExpertChoiceTokenMoE`, `attn`, and the unused
`moe_encoder` and `norm`) stand under `fusion.` (`adapt_released`).

Where paper and release differ, both can be had; the default can be trained and is nearest to the published procedure:
- the released encoder cannot run (no patch embedding, return inside the loop): here it embeds, adds positions, runs all
  blocks and then the neck once, as the encoder of SAM-Med2D in the same repository does;
- `train_lpeg`: the paper fine-tunes the LPEG; the release freezes all of `prompt_encoder`, the LPEG in it at random;
- `lpeg_input`: the paper says the enhanced embedding, the release hands over the one before the fusion (default);
- `noise_at_test`: the release draws the routing noise at test too, so that its predictions are random; the paper has it
  to encourage exploration in training, and here it is off at test by default;
- `routing_at_test`: in the release, slices predicted together compete for the experts; by default each is alone;
- `top_k`, `top_k_batch`: the paper says half of all features; the release 1176 for each image of the configured batch,
  which is half at 224 pixels and 38.3 % at 256, and stops where a batch has fewer tokens. The default is 1176 for each
  image of the call, equal to the release in every full batch.
The order of norm, GELU and pooling in the LPEG, the residual around the experts and the second adapter in a block are
the release's; the paper's text has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from benchmark.models.layers.fit import crop_to_shape
from benchmark.models.layers.sam.adapters import AdapterBlock
from benchmark.models.layers.sam.feb import TOP_K, FeatureEnhancing
from benchmark.models.layers.sam.image_encoder import Block, ImageEncoder
from benchmark.models.layers.sam.lora import add_lora
from benchmark.models.layers.sam.lpeg import HIDDEN, SelfPromptEncoder
from benchmark.models.layers.sam.mask_decoder import HEADS, MaskDecoder, attention_weights
from benchmark.models.layers.sam.network import SegmentAnything, built_for, check_channels, freeze
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder, Prompts
from benchmark.models.layers.sam.released import fit_lora, fit_released
from benchmark.models.layers.sam.sizes import DEMO_SIZE, SamSize, sam_size
from benchmark.models.registry import register

FUSION_PARTS = ("neck5.", "ExpertChoiceTokenMoE.", "attn.", "moe_encoder.", "norm.")
NOT_ASKED = ("point_embeddings.*", "not_a_point_embed.*", "mask_downscaling.*")  # of a prompt encoder without prompts


@register("moe_sam", demo={"size": DEMO_SIZE, "top_k": 0.5}, spatial_dims=(2,), decoder="image_encoder.neck")
class MoESAM(SegmentAnything):
    """[B, in, H, W] in 0 … 1 -> logits [B, out, H, W], H and W no larger than the built shape.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: input size, each side raised to a multiple of 16.
        size: vit_b (the paper), vit_l, vit_h, or the fields of a `SamSize`.
        feb: add what the feature enhancing block makes of all layers to the embedding.
        lpeg: generate a prompt token; without it there is none.
        tuning: what trains in the encoder: adapters in every block, or low-rank updates (SAMed's, rows of Table 2).
            With adapters the prompt encoder is frozen but for its LPEG; with updates all of it trains, as in SAMed.
        rank: of the low-rank updates.
        lpeg_input: the embedding before the fusion ("embedding") or after it ("fused").
        train_lpeg: with adapters: train the LPEG.
        lpeg_hidden: width between its linear layers.
        top_k, top_k_batch, noise_at_test, routing_at_test: of the routing, see `layers.sam.feb`.
        feb_heads: of the attention in the FEB.
        unused_layers: hold the parameters that the release has and never uses, 75,552 at full width.
        statistics: apply SAM's pixel statistics; the release does not.
        deep_supervision: return [full, quarter resolution], of which SAMed's loss, for the rows with updates, takes the
            latter. MoE-SAM's own loss takes the full resolution.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        feb: bool = True,
        lpeg: bool = True,
        tuning: Literal["adapter", "lora"] = "adapter",
        rank: int = 4,
        lpeg_input: Literal["embedding", "fused"] = "embedding",
        train_lpeg: bool = True,
        lpeg_hidden: int = HIDDEN,
        top_k: int | float = TOP_K,
        top_k_batch: int | None = None,
        noise_at_test: bool = False,
        routing_at_test: Literal["image", "batch"] = "image",
        feb_heads: int = HEADS,
        unused_layers: bool = False,
        statistics: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        check_channels(in_channels)
        if lpeg_input not in ("embedding", "fused"):
            raise ValueError(f"lpeg_input is embedding or fused, not {lpeg_input!r}")
        sizes, (shape, grid) = sam_size(size), built_for(spatial_shape)
        prompts = (sizes.channels, grid, shape)
        encoder = make_encoder(sizes, grid, tuning, rank)
        prompt_encoder = SelfPromptEncoder(*prompts, lpeg_hidden) if lpeg else PromptEncoder(*prompts)
        decoder, enhancing = MaskDecoder(sizes, out_channels), None
        if feb:
            enhancing = FeatureEnhancing(
                sizes,
                heads=feb_heads,
                routing_at_test=routing_at_test,
                unused_layers=unused_layers,
                top_k=top_k,
                top_k_batch=top_k_batch,
                noise_at_test=noise_at_test,
            )
        super().__init__(
            sizes,
            spatial_shape,
            image_encoder=encoder,
            prompt_encoder=prompt_encoder,
            mask_decoder=decoder,
            fusion=enhancing,
            statistics=statistics,
        )
        self.lpeg_input, self.tuning, self.rank = lpeg_input, tuning, rank
        self.deep_supervision = deep_supervision
        self.unused_parameters: tuple[str, ...] = ("mask_decoder.iou_prediction_head.*",)
        if feb and unused_layers:
            self.unused_parameters += ("fusion.moe_encoder.*", "fusion.norm.*")
        self._choose_trained(train_lpeg)

    def _choose_trained(self, train_lpeg: bool) -> None:
        if self.tuning == "lora":
            self.unused_parameters += tuple(f"prompt_encoder.{name}" for name in NOT_ASKED)
            return
        freeze(self.prompt_encoder)
        if isinstance(self.prompt_encoder, SelfPromptEncoder) and train_lpeg:
            for part in self.prompt_encoder.generator():
                part.requires_grad_()

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        shape, (quarter, _) = images.shape[2:], self.predict(images)
        full = self.enlarge(quarter, shape)
        return [full, crop_to_shape(quarter, self.built_shape, shape)] if self.deep_supervision else full

    def predict(self, images: Tensor, draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of all classes at a quarter of the built shape, and their predicted IoU.

        `draw`: standard normal numbers for the routing, as `FeatureEnhancing.forward` takes them.
        """
        _, neck, fused = self._embeddings(images, draw)
        return self.mask_decoder(fused, self.prompt_encoder.grid_code(), *self._prompts(neck, fused))

    def _embeddings(self, images: Tensor, draw: Tensor | None = None) -> tuple[list[Tensor], Tensor, Tensor]:
        """Maps of all blocks, the neck's embedding, and that with the fusion's."""
        neck, layers = self.image_encoder(self.prepare(images), range(len(self.image_encoder.blocks)))
        return layers, neck, neck if self.fusion is None else neck + self.fusion(layers, draw)

    def _prompts(self, neck: Tensor, fused: Tensor) -> Prompts:
        if isinstance(self.prompt_encoder, SelfPromptEncoder):
            return self.prompt_encoder.self_prompt(neck if self.lpeg_input == "embedding" else fused)
        return self.prompt_encoder()

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What Fig. 2 shows of images [B, in, H, W], of the padded input, in the network's present mode.

        Returns:
            layers: [B, depth, width, rows, columns], outputs of all blocks, in order.
            neck: [B, channels, rows, columns], the embedding without any fusion.
            fused: the same shape, with what the FEB adds; equal to `neck` without one.
            attention: [B, out_channels, rows, columns], how much each class's mask token attends to each place of the
                fused embedding in the decoder's last attention, mean over its heads; sums to 1. The paper does not say
                which attention its map "based on the fused features" is.
        """
        layers, neck, fused = self._embeddings(images)
        attention = self.mask_decoder.transformer.final_attn_token_to_image
        seen: list[tuple[Tensor, ...]] = []
        hook = attention.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
        try:
            self.mask_decoder.attend(fused, self.prompt_encoder.grid_code(), *self._prompts(neck, fused))
        finally:
            hook.remove()
        query, key, _ = attention.split(*seen[0])
        weights = attention_weights(query, key).mean(dim=1)[:, 1 : 1 + self.mask_decoder.mask_tokens.num_embeddings]
        maps = torch.stack(layers, dim=1).permute(0, 1, 4, 2, 3)
        return {"layers": maps, "neck": neck, "fused": fused, "attention": weights.unflatten(2, self.grid)}

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM with its positions resized to this grid, or one with the keys of E-SAM."""
        named = {f"fusion.{key}" if key.startswith(FUSION_PARTS) else key: value for key, value in state.items()}
        if self.tuning == "lora":
            return fit_lora(named, self.image_encoder, self.mask_decoder, self.rank)
        return fit_released(named, self.image_encoder)


def make_encoder(size: SamSize, grid: Sequence[int], tuning: str, rank: int) -> ImageEncoder:
    """An image encoder of which adapters or low-rank updates train, and nothing else.

    Raises:
        ValueError: `tuning` is neither.
    """
    if tuning not in ("adapter", "lora"):
        raise ValueError(f"tuning is adapter or lora, not {tuning!r}")
    encoder = ImageEncoder(size, grid, AdapterBlock if tuning == "adapter" else Block)
    freeze(encoder, but="Adapter")
    if tuning == "lora":
        add_lora(encoder, rank)
    return encoder
