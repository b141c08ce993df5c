"""Swin-MAE: a masked autoencoder with Swin stages, the pre-training of M4oE's experts.

Paper: Xu et al., "Swin MAE" (2023). Released: Zian-Xu/Swin-MAE at f59b9d0, non-commercial since 2025, so that nothing
of it is used but facts; state-dict keys are its own. Blocks of 4 x 4 patches are masked; their patches are replaced by
a learned token and none is removed, so that the windows stay whole.
Released weights: none published.
Deviations: as the release, the position table is stored and never added. Its windows are shifted even where one covers
the map. Sides that are no multiples of 32 are padded with zeros inside by `forward`, where the release fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple, round_up
from benchmark.models.layers.patches import PatchEmbed, PatchExpand, PatchMerging
from benchmark.models.layers.swin2d import MULTIPLE, PATCH, STAGES, SwinStage
from benchmark.models.layers.transformer import stage_rates
from benchmark.models.layers.window_block import WindowBlock
from benchmark.models.registry import register

BLOCK = 4  # patches along a side of what is masked together
EPS = 1e-6


class Reconstruction(NamedTuple):
    """What a masked pass gives; patches are in row-major order.

    Attributes:
        loss: mean squared error of the masked patches' pixels, 0 where nothing is masked.
        patches: predicted pixels [B, patches, 16 C].
        mask: [B, patches], 1 where masked.
    """

    loss: Tensor
    patches: Tensor
    mask: Tensor


@register(
    "swin_mae",
    demo={"width": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8), "window": 4},
    spatial_dims=(2,),
    decoder="first_patch_expanding",
    channels_last=True,
)
class SwinMAE(nn.Module):
    """`forward`: image [B, in, H, W] and mask -> predicted pixels [B, out, H, W], any H and W.

    `reconstruct` draws the mask and gives the loss as the release does; there `out_channels` equals `in_channels`.

    Args:
        in_channels, out_channels: of the image and of the prediction.
        spatial_shape: nominal input size, 224 x 224 in the release.
        width, depths, heads, window: as in Swin-T; the decoder mirrors the first three stages without skips.
        drop_path: of the deepest block, growing linearly from 0; the decoder has the rates of the mirrored stage.
        mask_ratio: share of the blocks of patches that is masked.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.1,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if not len(depths) == len(heads) == STAGES:
            raise ValueError(f"depths and heads have {STAGES} entries each")
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio is in [0, 1), not {mask_ratio}")
        self.mask_ratio = mask_ratio
        widths = [width * 2**stage for stage in range(STAGES)]
        rates = stage_rates(0, drop_path, depths)

        def blocks(stage: int) -> list[WindowBlock]:
            return _window_blocks(widths[stage], heads[stage], window, rates[stage])

        rows, columns = (side // PATCH for side in round_up(spatial_shape, MULTIPLE))
        self.pos_embed = nn.Parameter(_sine_table(width, rows, columns), requires_grad=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.patch_embed = PatchEmbed(in_channels, width, PATCH, eps=EPS)
        merging = [{"downsample": PatchMerging(channels, eps=EPS)} for channels in widths[:-1]]
        self.layers = nn.ModuleList(SwinStage(blocks(i), **step) for i, step in enumerate([*merging, {}]))
        self.first_patch_expanding = PatchExpand(widths[-1], widths[-2], eps=EPS)
        self.layers_up = nn.ModuleList()
        for stage in reversed(range(STAGES - 1)):
            expand = {"upsample": PatchExpand(widths[stage], widths[stage] // 2, eps=EPS)} if stage > 0 else {}
            self.layers_up.append(SwinStage(blocks(stage), **expand))
        self.norm_up = nn.LayerNorm(width, eps=EPS)
        self.decoder_pred = nn.Linear(width, PATCH**2 * out_channels)
        self.apply(_init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def _predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """[B, rows, columns, 16 C]; `mask` [B, rows, columns]."""
        grid = self.patch_embed(image)
        grid = torch.where(mask.unsqueeze(-1) > 0, self.mask_token.to(grid.dtype), grid)
        for stage in self.layers:
            grid = stage(grid)
        grid = self.first_patch_expanding(grid)
        for stage in self.layers_up:
            grid = stage(grid)
        return self.decoder_pred(self.norm_up(grid))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`: [B, H / 4, W / 4], 1 where a patch of 4 x 4 pixels is hidden; by default none is."""
        padded = pad_to_multiple(image, MULTIPLE)
        hidden = image.new_zeros(len(image), *(side // PATCH for side in padded.shape[2:]))
        if mask is not None:
            hidden[:, : mask.shape[1], : mask.shape[2]] = mask
        pixels = self._predict(padded, hidden).unflatten(-1, (PATCH, PATCH, -1)).permute(0, 5, 1, 3, 2, 4)
        return crop_to_shape(pixels.flatten(4, 5).flatten(2, 3), padded.shape[2:], image.shape[2:])

    def reconstruct(self, image: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Mask, predict and compare.

        Args:
            image: [B, C, H, W], sides multiples of 32.
            noise: [B, blocks], blocks of 16 x 16 pixels in row-major order; those with the least stay visible. Drawn
                from the default generator where not given.

        Raises:
            ValueError: a side that is no multiple of 32.
        """
        if any(side % MULTIPLE[0] for side in image.shape[2:]):
            raise ValueError(f"sides of {tuple(image.shape[2:])} are no multiples of {MULTIPLE[0]}")
        rows, columns = (side // (PATCH * BLOCK) for side in image.shape[2:])
        if noise is None:
            noise = torch.rand(len(image), rows * columns, device=image.device)
        visible = int(rows * columns * (1 - self.mask_ratio))
        blocks = torch.ones_like(noise).scatter(1, noise.argsort(dim=1)[:, :visible], 0.0)
        mask = blocks.view(-1, rows, columns).repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
        patches = self._predict(image, mask).flatten(1, 2)
        target = image.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)).permute(0, 2, 4, 3, 5, 1)
        error = (patches - target.flatten(3).flatten(1, 2)).square().mean(-1)
        mask = mask.flatten(1)
        return Reconstruction((error * mask).sum() / mask.sum().clamp(min=1), patches, mask)


def _window_blocks(channels: int, heads: int, window: int, rates: Sequence[float]) -> list[WindowBlock]:
    """Blocks of one stage, every second one shifted."""
    shifts = ((0, 0, 0), (0, window // 2, window // 2))
    return [
        WindowBlock(channels, heads, window=(1, window, window), shift=shifts[i % 2], drop_path=rate, eps=EPS)
        for i, rate in enumerate(rates)
    ]


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _sine_table(width: int, rows: int, columns: int) -> Tensor:
    """[1, rows columns, width]: half of the channels for the column, half for the row (He et al., MAE)."""
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)[None]
