"""`retable export`: a trained run for MONAI's bundle runner or in nnU-Net's words; all results as a table.

The network goes out as a program of `torch.export`, which loads with torch alone, and the code that prepares images as
a copy inside the folder (`carry`), so that what is exported labels images without Retable.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.catalog.arguments import add_catalog_arguments, add_results_argument, catalog_of, results_of
from benchmark.catalog.catalog import Catalog
from benchmark.data.plan import UNPLANNED
from benchmark.data.store import PreparedStore
from benchmark.datasets import Dataset, get_dataset
from benchmark.errors import InputError
from benchmark.exchange.card import model_card
from benchmark.exchange.carry import NAME, carry_runtime
from benchmark.exchange.monai_bundle import write_bundle
from benchmark.exchange.nnunet_folder import write_nnunet
from benchmark.exchange.results import FORMATS, export_results
from benchmark.files import atomic_path, write_json, write_text
from benchmark.inference.predict import load_network
from benchmark.layout import Layout
from benchmark.models.registry import full_resolution
from benchmark.models.weights_at_hand import WeightsAtHand, weights_at_hand
from benchmark.progress import say
from benchmark.settings import RunConfig, Scale

RESULTS = "results"
TOOLS = ("monai-bundle", "nnunet")
LARGEST_BATCH = 4096
SCRIPT = '''\
"""Label every image of a folder: python predict.py IMAGES OUT"""

import sys
from pathlib import Path

from {package}.exchange.portable import Predictor

predictor = Predictor(Path(__file__).parent)
predictor.predict_folder(sys.argv[1], sys.argv[2])
'''


@dataclass(frozen=True)
class Exported:
    """A trained run, ready to be written in another tool's layout.

    Attributes:
        network: with its weights, on the CPU, in evaluation mode.
        labels: value → name, background included.
        packages: what the carried code imports, besides Python's own.
        plan: what was planned from the training cases, as JSON; of nothing, the empty plan.
    """

    config: RunConfig
    dataset: Dataset
    network: nn.Module
    weights: WeightsAtHand
    labels: dict[int, str]
    channels: tuple[str, ...]
    packages: list[str]
    plan: dict[str, Any]

    @property
    def patch(self) -> tuple[int, ...]:
        return self.config.inference.patch or self.config.training.patch


class _FullResolution(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        return full_resolution(self.network(patches))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", help=f"run id: <paper>/<protocol>/<model>/seed<k>; or `{RESULTS}`, for all rebuilt cells"
    )
    parser.add_argument("out", type=Path, help="folder to write, which must not exist; of results, the csv or a folder")
    parser.add_argument("--to", required=True, choices=(*TOOLS, *FORMATS), help="whose layout")
    add_catalog_arguments(parser)
    add_results_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Raises InputError where the layout is not one of what is exported."""
    wanted = FORMATS if arguments.what == RESULTS else TOOLS
    if arguments.to not in wanted:
        raise InputError(
            f"{'results' if arguments.what == RESULTS else 'a run'} cannot be exported to {arguments.to}",
            where="--to",
            expected=" or ".join(wanted),
            found=arguments.to,
        )
    catalog, layout = catalog_of(arguments), results_of(arguments)
    if arguments.what == RESULTS:
        export_results(catalog, layout, arguments.scale, arguments.to, arguments.out)
    else:
        export_run(catalog, layout, arguments.what, arguments.scale, arguments.to, arguments.out)


def export_run(catalog: Catalog, layout: Layout, run: str, scale: Scale, to: str, out: Path) -> None:
    """Write one trained run of a results folder.

    Raises:
        InputError: there is no such run, it is not trained or prepared here, it cannot be expressed, or `out` exists.
    """
    config = catalog.run(run, scale)
    refuse_inexpressible(catalog, config)
    if out.exists():
        raise InputError("there is something already", where=out, remedy="give a folder that does not exist")
    prepared = Path(layout.prepared_for(config))
    if not prepared.is_file():
        raise InputError("the data of the run are not prepared here", where=prepared, remedy=_remedy(layout, config))
    try:
        exported = _write(catalog, layout, config, PreparedStore(prepared.parent), out, to)
        write_text(out / "README.md", model_card(catalog, layout, config, exported.weights, to, exported.packages))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # nothing half-written is left
        raise
    say(f"{run}: written to {out}; {out / 'README.md'} says how to use it")


def refuse_inexpressible(catalog: Catalog, config: RunConfig) -> None:
    """Raises InputError for runs that label no image by the image alone, or in a way that no export has."""
    reason, inference = catalog.made_elsewhere(config.run), config.inference
    if inference.method == "prompted":
        reason = "it is told a point of every structure, which no image has beside it"
    elif config.training.objective == "masked_images":
        reason = "it reconstructs images and labels none"
    elif inference.first_stage is not None:
        reason = "it has two stages"
    elif inference.enlarged != "labels":
        reason = f"it enlarges {inference.enlarged} and labels these"
    if reason:
        raise InputError(f"{config.run} cannot be exported: {reason}", remedy="choose a run that labels images alone")


def _remedy(layout: Layout, config: RunConfig) -> str:
    return f"snakemake --config scale={config.scale} -- {layout.predicted(config.run)}"


def _write(catalog: Catalog, layout: Layout, config: RunConfig, store: PreparedStore, out: Path, to: str) -> Exported:
    training = catalog.training(config.run, config.scale)
    record = layout.weights(config.model.initialisation) if training is None else layout.trained(training.run)
    weights = weights_at_hand(Path(record), training)
    network = load_network(config, store, weights)
    starts = ["benchmark.exchange.portable"] + (["benchmark.exchange.portable_monai"] if to == "monai-bundle" else [])
    packages = carry_runtime(out, config.dataset, starts)
    labels = {0: "background", **dict(enumerate(store.label_names, start=1))}
    plan = store.info.get("plan") or UNPLANNED.model_dump(mode="json")
    channels = tuple(store.channels)
    exported = Exported(config, get_dataset(config.dataset), network, weights, labels, channels, packages, plan)
    place = "models/model.pt2" if to == "monai-bundle" else "fold_0/model.pt2"
    write_program(network, len(channels), exported.patch, out / place, config.run)
    facts = {"config": json.loads(config.model_dump_json()), "plan": plan, "channels": list(channels)}
    facts |= {"labels": {str(value): name for value, name in labels.items() if value}, "network": place}
    write_json(out / "run.json", facts)
    write_text(out / "predict.py", SCRIPT.format(package=NAME))
    (write_bundle if to == "monai-bundle" else write_nnunet)(exported, out)
    return exported


def write_program(network: nn.Module, channels: int, patch: tuple[int, ...], path: Path, run: str) -> None:
    """The network as a program for patches of one size and batches of any, which is compared with it once.

    Raises:
        InputError: torch cannot export it, or the program does not compute what the network does.
    """
    whole, example = _FullResolution(network).eval(), torch.rand(2, channels, *patch)
    try:
        batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
        with torch.no_grad():
            program = torch.export.export(whole, (example,), dynamic_shapes=({0: batch},))
            found, expected = program.module()(example[:1]), whole(example[:1])
    except Exception as error:  # torch raises of its own and of any kind
        raise _no_program(run, str(error).splitlines()[0]) from error
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
        raise _no_program(run, f"logits that differ by {float((found - expected).abs().max()):.3g}")
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary)


def _no_program(run: str, found: str) -> InputError:
    return InputError(
        f"the network of {run} is no program that loads without its code",
        expected="a network that torch.export takes",
        found=found,
        remedy="use its weights (final.safetensors) with Retable itself: retable predict",
    )
