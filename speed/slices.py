"""How long a 2-D training waits for its slices: `OMP_NUM_THREADS=1 python speed/slices.py`.

Generated volumes are stored twice: in cubes, as for networks of volumes, and slice by slice, as for 2-D networks. A
tiny network is trained on whole slices from each store by the real loop, and on batches that mix slices of several
stores, as M4oE is. Printed are the median time to read one slice, the share of the training's time that is spent
waiting for data (log.csv), and samples per second.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from benchmark.data.joint import JointDataset
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.data.views import CaseView
from benchmark.lineage import training_settings
from benchmark.settings import RunConfig
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import Machine, TrainingLoop
from benchmark.training.objectives import make_objective
from benchmark.training.processes import start_processes
from benchmark.training.randomness import seed_everything
from speed.table import Ratio, least_in_turn, parse, write_ratios

LAYOUTS = {"cubes": None, "slices": 2}
MIXED = 3  # stores in one training, as M4oE has
CLASSES = 2


class Tiny(nn.Sequential):
    """[B, 1, H, W] -> [B, CLASSES, H, W], whichever store the slices are from."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 3, padding=1))

    def forward(self, image: Tensor, stores: Sequence[int] = ()) -> Tensor:
        return super().forward(image)


class Pace(NamedTuple):
    """Seconds per sample of a training, in its median step, and how many it waited for data, in that median."""

    seconds: float
    waited: float

    def __str__(self) -> str:
        return f"{self.waited / self.seconds:.0%} of the time waiting for data, {1 / self.seconds:.1f} samples/s"


def make_store(folder: Path, *, planes: int | None, volumes: int, shape: tuple[int, int, int]) -> PreparedStore:
    """Volumes with smooth structures and the noise of whole Hounsfield units, so that they compress like CT."""
    generator = np.random.default_rng(0)
    cases = {}
    for number in range(volumes):
        coarse = generator.random([side // 8 for side in shape])
        image = np.round(ndimage.zoom(coarse, 8, order=1) * 400 + generator.normal(0, 8, shape)) / 400
        cases[f"v{number}"] = (image[None].astype(np.float32), image > 0.6, {})
    return PreparedStore.create(folder, cases, label_names=["bright"], planes=planes)


def make_config(arguments: argparse.Namespace) -> RunConfig:
    order = arguments.order
    resize = {"image": f"zoom{order}", "labels": "zoom0"} if order != "linear" else {}
    training = {
        "patch": [arguments.size] * 2,
        "batch": arguments.batch,
        "epochs": 1,
        "iterations_per_epoch": arguments.steps,
        "optimiser": {"name": "sgd", "learning_rate": 0.01},
        "schedule": {"name": "constant"},
        "sampling": {"strategy": "whole", "resize": resize},
        "checkpoint_interval": arguments.steps,
    }
    return RunConfig(
        run="speed/slices/tiny/seed0",
        scale="demo",
        dataset="generated",
        model={"name": "tiny"},
        preparation={},
        training=training,
        inference={},
        convention="canonical",
        seed=0,
    )


def slice_seconds(store: PreparedStore, repeats: int = 30) -> float:
    """Median seconds to open a case and read one of its slices, at random."""
    generator, seconds = np.random.default_rng(0), []
    for _ in range(repeats):
        began = time.perf_counter()
        view = CaseView(store.open(str(generator.choice(store.cases))))
        view.read([0, 0, int(generator.integers(view.shape[2]))], [*view.shape[:2], 1])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def samples_of(stores: Sequence[PreparedStore], config: RunConfig) -> PatchDataset | JointDataset:
    parts = [PatchDataset(store, store.cases, config.training, config.seed) for store in stores]
    return parts[0] if len(parts) == 1 else JointDataset(parts, config.training, config.seed)


def draw_seconds(one: PreparedStore, several: Sequence[PreparedStore], config: RunConfig) -> dict[str, float]:
    """CPU time to draw the samples of a training from one store and from several, which is what it waits for."""
    samples = {"one": samples_of([one], config), "several": samples_of(several, config)}
    draws = {name: partial(_draw, found, config.training.batch) for name, found in samples.items()}
    return least_in_turn(draws, repeats=5)


def _draw(samples: PatchDataset | JointDataset, batch: int) -> None:
    for index in range(4 * batch):
        samples[index]


def train(stores: Sequence[PreparedStore], config: RunConfig, folder: Path, workers: int) -> Pace:
    """After the first fifth of the steps."""
    processes = start_processes(config.training)
    seed_everything(0)
    samples = samples_of(stores, config)
    loop = TrainingLoop(
        processes,
        config,
        Tiny(),
        samples,
        steps_per_epoch=samples.steps_per_epoch,
        folder=folder,
        checkpoints=Checkpoints(folder / "checkpoints", identity=training_settings(config), details={}),
        objective=make_objective(config.training, [CLASSES] * len(stores)),
        machine=Machine(workers),
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        loop.run()
    with (folder / "log.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows = rows[len(rows) // 5 :]
    seconds = [1 / float(row["samples_per_second"]) for row in rows]
    waits = [float(row["data_wait"]) * second for row, second in zip(rows, seconds, strict=True)]
    return Pace(statistics.median(seconds), statistics.median(waits))


def compare_layouts(arguments: argparse.Namespace, config: RunConfig, folder: Path, volume: str) -> list[Ratio]:
    """Both stores are left in `folder`."""
    reads, paces = {}, {}
    for name, planes in LAYOUTS.items():
        store = make_store(folder / name, planes=planes, volumes=arguments.volumes, shape=tuple(arguments.shape))
        megabytes = sum(file.stat().st_size for file in (folder / name).rglob("*.b2nd")) / 1e6
        reads[name] = slice_seconds(store)
        print(f"{name}: {megabytes:.0f} MB, a slice is read in {1e3 * reads[name]:.1f} ms")
        for workers in arguments.workers:
            paces[name, workers] = train([store], config, folder / f"{name}-{workers}", workers)
            print(f"  {workers} workers: {paces[name, workers]}")
    ratios = [
        Ratio(f"a slice of {volume}, stored in slices", "stored in cubes", "time", reads["cubes"] / reads["slices"])
    ]
    for workers in arguments.workers:
        measured = f"training on slices of {volume}, {workers} workers, stored in slices"
        quicker = paces["cubes", workers].seconds / paces["slices", workers].seconds
        ratios.append(Ratio(measured, "stored in cubes", "time", quicker))
    return ratios


def compare_mixed(arguments: argparse.Namespace, config: RunConfig, folder: Path, volume: str) -> Ratio:
    one = PreparedStore(folder / "slices")
    copies = [shutil.copytree(one.folder, folder / f"store{number}") for number in range(MIXED)]
    several = [PreparedStore(copy) for copy in copies]
    print(f"batches that mix slices of {MIXED} stores")
    for workers in arguments.workers:
        print(f"  {workers} workers: {train(several, config, folder / f'mixed-{workers}', workers)}")
    seconds = draw_seconds(one, several, config)
    measured = f"drawing batches of slices of {volume} that mix {MIXED} stores"
    return Ratio(measured, "batches of one store", "CPU time", seconds["one"] / seconds["several"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 96), help="voxels, multiples of 8")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--order", choices=("linear", "1", "3"), default="3", help="how images are resized")
    parser.add_argument("--workers", type=int, nargs="*", default=(0, 1))
    small = {"volumes": 2, "shape": (256, 256, 64), "batch": 4, "steps": 40, "workers": (0,)}
    arguments = parse(parser, small=small)
    config = make_config(arguments)
    print(f"{torch.get_num_threads()} threads, {arguments.volumes} volumes of {tuple(arguments.shape)}, ", end="")
    print(f"slices to {arguments.size}², order {arguments.order}, batches of {arguments.batch}")
    volume = " × ".join(map(str, arguments.shape))
    with tempfile.TemporaryDirectory() as folder:
        ratios = compare_layouts(arguments, config, Path(folder), volume)
        ratios.append(compare_mixed(arguments, config, Path(folder), volume))
    write_ratios(arguments, ratios)


if __name__ == "__main__":
    main()
