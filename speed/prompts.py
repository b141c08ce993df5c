"""A slice that is encoded once for all its points, beside a pass per class: `python speed/prompts.py`.

The decoder answers the same questions in both; printed are encoder passes and seconds for a volume whose slices all
show as many classes, on the device given. `--size vit_b` is the papers' network; the default is one of a quarter of
its width.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.data.prompts import Points
from benchmark.inference.prompts import predict_prompted
from benchmark.models.registry import build
from benchmark.settings import Inference
from speed.table import Ratio, parse, write_ratios

QUARTER = {"width": 192, "depth": 12, "heads": 6, "global_blocks": (2, 5, 8, 11)}


class Counter:
    """Images that have gone through a module."""

    def __init__(self, module: nn.Module) -> None:
        self.images = 0
        module.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.images += len(arguments[0])


def all_points(slices: int, classes: int, side: int) -> Points:
    step = side // (classes + 1)
    return {number: {value: (step * value, side // 2) for value in range(1, classes + 1)} for number in range(slices)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="quarter", help="quarter, or vit_b, vit_l, vit_h")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 7, 13], help="of ACDC, MMWHS and BTCV")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parse(parser, small={"side": 128, "slices": 2, "classes": [7]})
    torch.manual_seed(0)
    size = QUARTER if arguments.size == "quarter" else arguments.size
    shape, side = (arguments.side, arguments.side), arguments.side
    settings = Inference(method="prompted", window_batch=4)
    image = torch.rand(1, *shape, arguments.slices)
    print(f"{arguments.size}, {side} x {side}, {arguments.slices} slices, {arguments.device}")
    ratios = []
    for classes in arguments.classes:
        network = build("sam", in_channels=1, out_channels=classes + 1, spatial_shape=shape, size=size)
        network = network.to(arguments.device).eval()
        points, encoder = all_points(arguments.slices, classes, side), Counter(network.image_encoder)

        ask = partial(predict_prompted, network, image, size=shape, settings=settings, classes=classes)
        ask(points={0: points[0]}, device=arguments.device)  # warm
        passes, spent = [], []
        for name, parts in (
            ("once a slice", [points]),
            ("a pass per class", [{n: {v: by[v]} for n, by in points.items()} for v in range(1, classes + 1)]),
        ):
            encoder.images, began, busy = 0, time.perf_counter(), time.process_time()
            for part in parts:
                ask(points=part, device=arguments.device)
            seconds, cpu = time.perf_counter() - began, time.process_time() - busy
            passes.append(encoder.images)
            spent.append(cpu if arguments.device == "cpu" else seconds)
            print(f"  {classes:2d} classes, {name:16s}: {encoder.images:4d} encoder passes, {seconds:7.2f} s")
        measured = f"points of {classes} classes, a slice encoded once"
        what = "CPU time" if arguments.device == "cpu" else "time"
        for kind, (once, each) in ((what, spent), ("encoder passes", passes)):
            ratios.append(Ratio(measured, "a pass per class", kind, each / once))
    write_ratios(arguments, ratios)


if __name__ == "__main__":
    main()
