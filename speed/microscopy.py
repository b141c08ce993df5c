"""What a trained network has to beat on microscopy, and what it cannot: thresholds, an untrained network, the ceiling.

    python speed/microscopy.py ROOT [--paper-tables DIR]

ROOT is a folder in the layout of NeurIPS CellSeg. Printed are mean F1, precision and recall over the test images under
the papers' convention (interiors alone, no boundary) and under `canonical` (boundaries given back to their cells):

- otsu: connected components above (or, where that is more than half of the image, below) Otsu's threshold of the grey
  image (luminance as stored, not stretched); `otsu, bright` never turns the image round. No training, no size filter.
- untrained: the run's network with its random weights, through the run's own preparation and inference.
- classes of the reference: the three classes that networks are trained on, as if a network had learnt them perfectly.
  Under the papers' convention cells lose their rim, and small ones with it half of their area.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from skimage.filters import threshold_otsu

from benchmark.catalog import load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.data import phantoms
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.datasets import Case, get_dataset
from benchmark.datasets.neurips_cellseg import three_channels
from benchmark.images.pictures import read_picture
from benchmark.inference.image import predict_image
from benchmark.models.registry import build_for_run
from benchmark.progress import track
from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap
from speed.table import parse, write_ratios

RUN = "swin_umamba_dagger/neurips_cellseg-scratch/swin_umamba_d-scratch/seed0"
CELLSEG = get_dataset("neurips_cellseg")
CONVENTIONS = [get_convention("umamba_microscopy"), get_convention("canonical")]
METRICS = ("f1", "precision", "recall")


def otsu(case: Case, *, turn: bool) -> np.ndarray:
    """Foreground (1) by Otsu's threshold; with `turn`, the smaller side of it."""
    red, green, blue = np.moveaxis(three_channels(read_picture(case.images[0])).astype(float), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    bright = grey > threshold_otsu(grey)
    return (~bright if turn and bright.mean() > 0.5 else bright).astype(np.uint8)


def untrained(case: Case, *, paper_tables: str) -> np.ndarray:
    """The labels of a network that has learnt nothing."""
    config = load_catalog(paper_tables).run(RUN, "demo")
    torch.manual_seed(config.seed)
    network = build_for_run(config, in_channels=3, out_channels=3).eval()
    image, affine = CELLSEG.load_image(case)
    labels = CELLSEG.load_labels(case)[0]
    prepared, _, _ = to_prepared_grid(image, labels, affine, preparation=config.preparation)
    return predict_image(network, torch.from_numpy(prepared), config, device="cpu").numpy()


def score(case: Case, prediction: np.ndarray) -> dict[tuple[str, str], float]:
    """(convention, metric) → value."""
    instances = CELLSEG.read_reference(case)[0]
    grid = Geometry(instances.shape, (1.0, 1.0))
    scores = score_case(
        LabelMap(instances, grid),
        LabelMap(np.ascontiguousarray(prediction), grid),
        labels=dict(enumerate(CELLSEG.label_names, start=1)),
        conventions=CONVENTIONS,
        metrics=METRICS,
    )
    return {(one.convention, one.metric): one.value for one in scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="with --small, by default a phantom")
    parser.add_argument("--paper-tables", default=str(DEFAULT_FOLDER))
    arguments = parse(parser, small={})
    write_ratios(arguments, [])  # scores are no speed
    with tempfile.TemporaryDirectory() as folder:
        if arguments.root is None:
            if not arguments.small:
                parser.error("which folder?")
            phantom = phantoms.get_phantom("neurips_cellseg")
            phantoms.write(phantom, Path(folder), subjects=phantom.smallest)
        compare(arguments.root or Path(folder), arguments.paper_tables)


def compare(root: Path, paper_tables: str) -> None:
    """Print the means of every predictor."""
    cases = [case for case in CELLSEG.find_cases(root) if case.split == "test"]
    predictors: dict[str, Callable[[Case], np.ndarray]] = {
        "otsu": partial(otsu, turn=True),
        "otsu, bright": partial(otsu, turn=False),
        "untrained": partial(untrained, paper_tables=paper_tables),
        "classes of the reference": lambda case: CELLSEG.read_labels(case)[0],
    }
    print(f"{'':26}" + "".join(f"{c.name + ' ' + m:>28}" for c in CONVENTIONS for m in METRICS))
    for name, predict in predictors.items():
        found = [score(case, predict(case)) for case in track(cases, total=len(cases), description=name)]
        means = [np.mean([one[c.name, m] for one in found]) for c in CONVENTIONS for m in METRICS]
        print(f"{name:26}" + "".join(f"{mean:28.4f}" for mean in means))


if __name__ == "__main__":
    main()
