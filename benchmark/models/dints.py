"""DiNTS with the architecture that its authors released, in 3-D.

Paper: He et al., "DiNTS: Differentiable Neural Network Topology Search" (CVPR 2021). Licence: Apache-2.0; the parts are
MONAI's. Released: the architecture `arch_code_cvpr.pth` (research-contributions @21ed8e5); no weights.
Row: Swin SMT Table 1 prints 147.00 M; the released architecture has 152,364,822 parameters at 118 classes.

`ARCHITECTURE` is that of the released file: 97 cells, of which seven keep their resolution and skip, so that no key of
a state dict tells of them. `stem_down.3` is built and never read (the coarsest input is switched off), as in the
release.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import cast

import numpy as np
from monai.networks.nets import DiNTS, TopologyInstance
from torch import Tensor

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register

# One row per block, one column per path between resolutions (0 finest): 0→0, 1→0, 0→1, 1→1, 2→1, 1→2, 2→2, 3→2, 2→3,
# 3→3. Digits are cell operations: 0 skip, 1 conv 3³, 2 conv 3×3×1, 3 conv 3×1×3, 4 conv 1×3×3; a dot is no cell.
ARCHITECTURE = (
    "1.13212.1.",
    "1031.21.43",
    "3002101.10",
    "4.2121101.",
    "1140.41111",
    "2.00444111",
    "4300.4.103",
    "110034..13",
    "1002.00011",
    "1423.43031",
    "202..20032",
    "44.....021",
)
DEPTHS = 4
DIVISOR = 16  # the stem halves once, the topology three times


class Topology(TopologyInstance):
    """MONAI's topology of the released architecture, with a forward that reads no tensor to find its way.

    Args:
        rows: one string per block, as in `ARCHITECTURE`.
        channel_mul: factor on the released widths.
        checkpointing: recompute each cell in the backward pass instead of keeping its activations.
    """

    def __init__(self, rows: Sequence[str], *, channel_mul: float, checkpointing: bool) -> None:
        active = np.array([[code != "." for code in row] for row in rows])
        operations = np.array([[int(code) if code != "." else 0 for code in row] for row in rows])
        with contextlib.redirect_stdout(io.StringIO()):  # MONAI prints a line about patch sizes
            super().__init__(
                arch_code=[active, operations], channel_mul=channel_mul, num_blocks=len(rows), num_depths=DEPTHS
            )
        for cell in self.cell_tree.values():  # functions that chose its operation, of which no copy can be pickled
            vars(cell).update(OPS={}, OPS2D={}, OPS3D={})
        self.checkpointing = checkpointing
        ends = list(enumerate(zip(self.arch_code2in, self.arch_code2out, strict=True)))
        self.paths = [[(str((b, p)), *path) for p, path in ends if row[p]] for b, row in enumerate(active.tolist())]

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Features at the four resolutions, finest first → the same."""
        for block in self.paths:
            outputs: list[Tensor | float] = [0.0] * self.num_depths
            for cell, start, end in block:
                outputs[end] = outputs[end] + maybe_checkpoint(self.checkpointing, self.cell_tree[cell], x[start], None)
            x = cast("list[Tensor]", outputs)  # a zero stays where no cell leads to, and no cell reads it
        return x


@register("dints", demo={"channel_mul": 0.125, "num_blocks": 4})
class Dints(PadToMultiple[Tensor], DiNTS):
    """[B, in, D, H, W] → logits [B, out, D, H, W].

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: any; not used.
        channel_mul: factor on the widths 32, 64, 128, 256, 512.
        num_blocks: how many of the released architecture's twelve blocks (fewer at demo scale).
        checkpointing: recompute each cell in the backward pass instead of keeping its activations.
    """

    multiple: Sequence[int] = (DIVISOR,) * 3
    several = True
    unused_parameters = ("stem_down.3.*",)

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        channel_mul: float = 1.0,
        num_blocks: int = len(ARCHITECTURE),
        checkpointing: bool = False,
    ) -> None:
        if not 1 <= num_blocks <= len(ARCHITECTURE):
            raise ValueError(f"num_blocks has to lie in 1..{len(ARCHITECTURE)}, not {num_blocks}")
        super().__init__(
            dints_space=Topology(ARCHITECTURE[:num_blocks], channel_mul=channel_mul, checkpointing=checkpointing),
            in_channels=in_channels,
            num_classes=out_channels,
            node_a=[[1, 1, 1, 0], *([[1, 1, 1, 1]] * num_blocks)],
        )
