"""What is made of all layers of SAM's image encoder and added to its embedding (MoE-SAM, Table 3).

A fusion maps the block outputs [B, rows, columns, width], in order of depth, to [B, channels, rows, columns]. `FUSIONS`
has them by the name that the option `fusion` of a network takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from benchmark.errors import did_you_mean
from benchmark.models.layers.sam.feb import FeatureEnhancing
from benchmark.models.layers.sam.image_encoder import make_neck
from benchmark.models.layers.sam.sizes import SamSize


class LayerSum(nn.Module):
    """The sum of the layers through a neck of its own: "Add" of MoE-SAM's Table 3, which its code does not define.

    It is MoE-SAM's fusion without the routing, experts and attention between layers and neck. Sum or mean makes no
    difference, since the neck's first convolution has no bias and a norm follows.
    """

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        self.neck = make_neck(size.width, size.channels)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        return self.neck(sum(layers[1:], start=layers[0]).permute(0, 3, 1, 2))


FUSIONS: dict[str, Callable[[SamSize], nn.Module]] = {"add": LayerSum, "feb": FeatureEnhancing}


def make_fusion(name: str, size: SamSize) -> nn.Module | None:
    """The fusion of a name in `FUSIONS`; None for "none".

    Raises:
        ValueError: there is no such fusion.
    """
    if name == "none":
        return None
    if name not in FUSIONS:
        raise ValueError(f"fusion is one of none, {', '.join(FUSIONS)}, not {name!r}{did_you_mean(name, FUSIONS)}")
    return FUSIONS[name](size)
