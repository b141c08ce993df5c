"""Universal Model (Liu et al. 2023, "CLIP-Driven Universal Model for Organ Segmentation and Tumor Detection", ICCV).

Written from the paper and from facts about ljwztc/CLIP-Driven-Universal-Model at 43c1239 (`Universal_model.py`), which
is CC BY-NC-ND 4.0, code and weights: no code was taken, and adapted weights must not be shared. Parameter names are the
released ones. SwinUNETR (first version, legacy patch merging) without its output layer, and for each class a head of
three 1x1x1 convolutions predicted from the pooled bottleneck and a code of the class.

`encoding`:

- `"word_embedding"`, as published: the code is a projection of CLIP ViT-B/32 text features, 512 per class, not
  normalised, of "A computerized tomography of a {organ}". `text_features` is the authors' file (`txt_encoding.pth`, 32
  classes) or one like it; `"from_checkpoint"` leaves room for those inside released weights. They cannot be computed
  here, for want of CLIP.
- `"rand_embedding"`, also released, and the default because it needs no file: a learned code per class, random at
  first. A table that uses it has to say so.

The release gives one logit per class for a sigmoid, one against all, and needs no background class; here there are
`out_channels` of them. It repeats eight full-resolution channels for all classes at once; here `class_chunk` classes
are computed at a time, with equal results. Sides that are not multiples of 32 are zero-padded at the end (the release
pads the wrong axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.dynamic_head import dynamic_head, parameter_count
from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple
from benchmark.models.layers.swin_pyramid import DIVISOR, PyramidParts
from benchmark.models.registry import register

TEXT_SIZE, GROUPS = 512, 16
HEAD = (8, 8, 8, 1)
FROM_CHECKPOINT = "from_checkpoint"


class Backbone(PyramidParts):
    """SwinUNETR without its output layer: bottleneck [B, 16 w, *S / 32] and features [B, w, *S].

    Args:
        in_channels: image channels.
        feature_size, num_heads, window_size, checkpointing: of `PyramidParts`.
    """

    def __init__(
        self, in_channels: int, *, feature_size: int, num_heads: Sequence[int], window_size: int, checkpointing: bool
    ):
        super().__init__(
            in_channels=in_channels,
            out_channels=1,
            spatial_dims=3,
            feature_size=feature_size,
            num_heads=num_heads,
            window_size=window_size,
            checkpointing=checkpointing,
        )
        del self.out

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        half, quarter, eighth, sixteenth, deepest = self.swinViT(image, normalize=True)
        bottleneck = self.encoder10(deepest)
        features = self.decoder5(bottleneck, sixteenth)
        features = self.decoder4(features, self.encoder4(eighth))
        features = self.decoder3(features, self.encoder3(quarter))
        features = self.decoder2(features, self.encoder2(half))
        return bottleneck, self.decoder1(features, self.encoder1(image))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(GROUPS, channels), channels)


class UniversalModel(nn.Module):
    """[B, in_channels, *S] -> [B, classes, *S]; see `universal_model` for the arguments.

    Args:
        text_features: [classes, 512] makes the class codes projections of it; without, they are learned.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        *,
        width: int,
        code_size: int,
        text_features: Tensor | None,
        class_chunk: int,
        checkpointing: bool,
    ):
        super().__init__()
        self.class_chunk, self.checkpointing = class_chunk, checkpointing
        self.backbone = backbone
        self.precls_conv = nn.Sequential(_norm(width), nn.ReLU(), nn.Conv3d(width, HEAD[0], 1))
        deepest = 16 * width
        self.GAP = nn.Sequential(_norm(deepest), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Conv3d(deepest, code_size, 1))
        self.controller = nn.Conv3d(2 * code_size, parameter_count(HEAD), 1)
        self.reads_text = text_features is not None
        if self.reads_text:
            self.register_buffer("organ_embedding", text_features)
            self.text_to_vision = nn.Linear(TEXT_SIZE, code_size)
        else:
            self.organ_embedding = nn.Embedding(classes, code_size)

    def _heads(self, bottleneck: Tensor) -> Tensor:
        """Weights of every class's head, [B, classes, count]."""
        pooled = self.GAP(bottleneck).flatten(1)
        if self.reads_text:
            codes = functional.relu(self.text_to_vision(self.organ_embedding))
        else:
            codes = self.organ_embedding.weight
        batch, classes = len(pooled), len(codes)
        joined = torch.cat(
            (pooled[:, None].expand(-1, classes, -1), codes.to(pooled.dtype)[None].expand(batch, -1, -1)), dim=-1
        )
        return self.controller(joined.flatten(0, 1)[:, :, None, None, None]).flatten(1).unflatten(0, (batch, classes))

    def forward(self, image: Tensor) -> Tensor:
        padded = pad_to_multiple(image, (DIVISOR,) * 3, several=True)
        bottleneck, features = self.backbone(padded)
        logits = dynamic_head(
            self.precls_conv(features),
            self._heads(bottleneck),
            HEAD,
            chunk=self.class_chunk,
            checkpointing=self.checkpointing,
        )
        return crop_to_shape(logits, padded.shape[2:], image.shape[2:])


def _read_text_features(path: str, classes: int) -> Tensor:
    """[classes, 512] float32 from the authors' file or one like it."""
    if path == FROM_CHECKPOINT:
        return torch.zeros(classes, TEXT_SIZE)
    if not Path(path).is_file():
        raise InputError(
            "the text features of the Universal Model do not exist",
            where=path,
            remedy="take txt_encoding.pth from github.com/ljwztc/CLIP-Driven-Universal-Model (pretrained_weights), or "
            "build with encoding='rand_embedding'",
        )
    features = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(features, Tensor) or tuple(features.shape) != (classes, TEXT_SIZE):
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise InputError(
            "the text features are not those of these classes", where=path, expected=(classes, TEXT_SIZE), found=found
        )
    return features.float()


@register(
    "universal_model",
    demo={
        "feature_size": 8,
        "num_heads": (1, 2, 4, 8),
        "window_size": 4,
        "code_size": 16,
    },
)
def universal_model(
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    encoding: Literal["word_embedding", "rand_embedding"] = "rand_embedding",
    text_features: str | None = None,
    feature_size: int = 48,
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window_size: int = 7,
    code_size: int = 256,
    class_chunk: int = 16,
    checkpointing: bool = False,
) -> UniversalModel:
    """Universal Model with the SwinUNETR backbone, for 3-D images of any size (`spatial_shape` is not used).

    Args:
        encoding, text_features: see the module; text features are needed by `"word_embedding"`.
        feature_size, num_heads, window_size: of SwinUNETR.
        code_size: of the image code and of a class code.
        class_chunk: classes whose heads are computed at a time.
        checkpointing: recompute Swin blocks and heads in the backward pass.

    Raises:
        ValueError: unknown encoding, or text features missing where they are needed or given where they are not.
        InputError: the file of text features is absent or of other classes.
    """
    if encoding not in ("word_embedding", "rand_embedding"):
        raise ValueError(f"unknown encoding {encoding!r}; known: word_embedding, rand_embedding")
    if (encoding == "word_embedding") != (text_features is not None):
        raise ValueError(
            "encoding='word_embedding' needs text_features (a file, or 'from_checkpoint'); 'rand_embedding' takes none"
        )
    backbone = Backbone(
        in_channels,
        feature_size=feature_size,
        num_heads=tuple(num_heads),
        window_size=window_size,
        checkpointing=checkpointing,
    )
    return UniversalModel(
        backbone,
        out_channels,
        width=feature_size,
        code_size=code_size,
        text_features=None if text_features is None else _read_text_features(text_features, out_channels),
        class_chunk=class_chunk,
        checkpointing=checkpointing,
    )
