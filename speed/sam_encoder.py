"""SAM's image encoder beside Hugging Face's: time and peak memory, forward and backward, with equal embeddings.

    python speed/sam_encoder.py [--size vit_b] [--sides 256 1024] [--device cuda]

Both have the same random weights; embeddings and gradients of the image must agree. Each is measured in a process of
its own for memory; time is that of the fastest repeat, the two taking turns. Hugging Face's is `SamVisionModel` of
transformers, with the attention that it chooses itself. Without transformers ours is measured alone.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmark.models.layers.sam.image_encoder import ImageEncoder
from benchmark.models.layers.sam.sizes import DEMO_SIZE, PATCH, SamSize, sam_size
from speed.machine import device_name, forget_peak, in_fork, process_bytes
from speed.table import Ratio, least_in_turn, parse, write_ratios

if TYPE_CHECKING:
    from transformers import SamVisionConfig

OURS, THEIRS = "ours", "Hugging Face"
TOLERANCE = 1e-3
KEYS = (  # of the released encoder, and of Hugging Face's
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"layers.\1.layer_norm\2."),
    (r"^blocks\.", "layers."),
    (r"^neck\.0\.", "neck.conv1."),
    (r"^neck\.1\.", "neck.layer_norm1."),
    (r"^neck\.2\.", "neck.conv2."),
    (r"^neck\.3\.", "neck.layer_norm2."),
)


def their_key(key: str) -> str:
    """The released encoder's key, as Hugging Face names it."""
    for pattern, other in KEYS:
        key, found = re.subn(pattern, other, key)
        if found:
            break
    return key


class OurEncoder(nn.Module):
    """Images [B, 3, side, side] → the embedding [B, channels, side / 16, side / 16]."""

    def __init__(self, size: str, side: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = ImageEncoder(sam_size(DEMO_SIZE if size == "demo" else size), (side // PATCH,) * 2)
        for parameter in self.parameters():  # tables of positions begin at zero
            nn.init.normal_(parameter, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images)[0]


def their_configuration(sizes: SamSize, side: int) -> SamVisionConfig:
    """Transformers' description of an encoder of that size for images of side × side."""
    from transformers import SamVisionConfig

    return SamVisionConfig(
        hidden_size=sizes.width,
        output_channels=sizes.channels,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        image_size=side,
        patch_size=PATCH,
        window_size=sizes.window,
        global_attn_indexes=list(sizes.global_blocks),
        mlp_dim=4 * sizes.width,
        num_pos_feats=sizes.channels // 2,
    )


class TheirEncoder(nn.Module):
    """The same from transformers, with our weights."""

    def __init__(self, size: str, side: int) -> None:
        super().__init__()
        from transformers import SamVisionModel

        sizes, own = sam_size(DEMO_SIZE if size == "demo" else size), OurEncoder(size, side)
        self.model = SamVisionModel(their_configuration(sizes, side))
        state = {f"vision_encoder.{their_key(key)}": value for key, value in own.encoder.state_dict().items()}
        self.model.load_state_dict(state)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[0]


ENCODERS: dict[str, Callable[[str, int], nn.Module]] = {OURS: OurEncoder, THEIRS: TheirEncoder}


def step(network: nn.Module, images: Tensor) -> Tensor:
    """Forward and backward to the end; the embedding."""
    network.zero_grad(set_to_none=True)
    images.grad = None
    embedding = network(images)
    embedding.square().mean().backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return embedding.detach()


def ready(name: str, arguments: argparse.Namespace, side: int) -> tuple[nn.Module, Tensor]:
    network = ENCODERS[name](arguments.size, side).to(arguments.device)
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(arguments.device)
    return network, images.requires_grad_()


def step_bytes(name: str, arguments: argparse.Namespace, side: int) -> int:
    """What the first step adds at most to what the process holds with the network."""
    network, images = ready(name, arguments, side)
    if arguments.device == "cpu":
        forget_peak()
        before = process_bytes("VmRSS")
    else:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    step(network, images)
    return (process_bytes("VmHWM") if arguments.device == "cpu" else torch.cuda.max_memory_allocated()) - before


def compare(arguments: argparse.Namespace, side: int, peaks: dict[str, float]) -> list[Ratio]:
    """Time of those whose memory was measured; their ratios, if both were and agree."""
    cells = {name: ready(name, arguments, side) for name in peaks}
    found = {name: [step(*cell), cell[1].grad] for name, cell in cells.items()}
    for tensors in found.values():
        for ours, theirs in zip(found[OURS], tensors, strict=True):
            if (ours - theirs).abs().max() > TOLERANCE * ours.abs().max():
                raise SystemExit("embeddings or gradients differ, so times cannot be compared")
    clock, what = (time.process_time, "CPU time") if arguments.device == "cpu" else (time.perf_counter, "time")
    steps = {name: partial(step, *cell) for name, cell in cells.items()}
    seconds = least_in_turn(steps, arguments.repeats, clock=clock)
    for name in cells:
        print(f"{side:5}² {name:13} {seconds[name]:8.3f} s {what}  {peaks[name] / 1e6:8.1f} MB")
    if len(cells) < 2:
        return []
    measured = f"SAM's encoder ({arguments.size}), forward and backward, {side}²"
    kinds = ((what, seconds), ("memory", peaks))
    return [Ratio(measured, "SamVisionModel of transformers", kind, one[THEIRS] / one[OURS]) for kind, one in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("demo", "vit_b", "vit_l", "vit_h"), default="vit_b")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parse(parser, small={"size": "demo", "sides": [128], "repeats": 2})
    names = [name for name in ENCODERS if name == OURS or find_spec("transformers")]
    missing = "" if THEIRS in names else "; transformers is not installed, so there is nothing to compare with"
    print(
        f"{device_name(arguments.device) if arguments.device == 'cpu' else 'GPU'}, torch {torch.__version__}{missing}"
    )
    peaks = {
        side: {name: float(in_fork(step_bytes, name, arguments, side)) for name in names} for side in arguments.sides
    }
    write_ratios(arguments, [ratio for side in arguments.sides for ratio in compare(arguments, side, peaks[side])])


if __name__ == "__main__":
    main()
