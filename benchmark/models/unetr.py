"""UNETR: a plain vision transformer on 16-voxel patches with a convolutional decoder, in 2-D and 3-D.

Paper: Hatamizadeh et al., "UNETR" (WACV 2022). Licence: Apache-2.0; the network is MONAI's class.
Rows: Swin SMT Table 1 (102.02 M) is feature_size 32 at 128³; the 2-D rows of the Swin-UMamba tables are 16.
Released weights: `UNETR_model_best_acc.pth`, BTCV research contribution (feature_size 16, proj_type "perceptron").
Deviations: MONAI 1.6.1 carries 24 `norm_cross_attn` tensors that no forward reaches (18,432 parameters at width 768),
absent from 1.2.0: 102,036,406 here for 102,017,974 then. The position table ties the network to `spatial_shape`, raised
to multiples of 16; smaller inputs are padded with zeros inside, larger ones refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from monai.networks.nets import UNETR
from torch import Tensor

from benchmark.models.layers.fit import crop_to_shape, pad_to_shape, round_up
from benchmark.models.registry import register

PATCH = 16


@register(
    "unetr",
    demo={"feature_size": 8, "hidden_size": 48, "mlp_dim": 192, "num_heads": 4},
    spatial_dims=(2, 3),
    decoder="decoder5",
)
class Unetr(UNETR):
    """[B, in, *spatial] → logits [B, out, *spatial], spatial no larger than the built shape.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: input size; its sixteenth is the grid of the position table.
        feature_size: channels of the decoder at full resolution.
        hidden_size, mlp_dim, num_heads: of the transformer's twelve blocks.
        proj_type: "conv", or "perceptron" as in the released code: equal counts, other keys and layout.
    """

    unused_parameters = ("vit.blocks.*.norm_cross_attn.*",)

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        feature_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        proj_type: Literal["conv", "perceptron"] = "conv",
    ) -> None:
        self.built_shape = round_up(spatial_shape, (PATCH,) * len(spatial_shape))
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            img_size=self.built_shape,
            feature_size=feature_size,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_heads=num_heads,
            proj_type=proj_type,
            spatial_dims=len(spatial_shape),
        )

    def forward(self, x: Tensor) -> Tensor:
        return crop_to_shape(super().forward(pad_to_shape(x, self.built_shape)), self.built_shape, x.shape[2:])
