"""The README.md of an exported run: how to use it, data, recipe with sources, scores, licence position, scale."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.derivation import network_of, settings_of
from benchmark.datasets import get_dataset
from benchmark.exchange.results import rebuilt_results
from benchmark.layout import Layout
from benchmark.markdown import aligned
from benchmark.models.released import weight_source
from benchmark.models.weights_at_hand import WeightsAtHand
from benchmark.settings import RunConfig
from benchmark.version import code_version

USE = {
    "monai-bundle": """\
Put images into `images/`, in this folder:

```
python -m monai.bundle run --config_file configs/inference.json
python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir OUT
```

MONAI's command needs the package fire; without it, or without MONAI's runner:

```
python -c "from monai.bundle import run; run(config_file='configs/inference.json')"
```
""",
    "nnunet": """\
`dataset.json` and `plans.json` say in nnU-Net's words what the network was trained on and how images are prepared,
axes in the order of the prepared array. `fold_0/checkpoint_final.pth` has the weights under `network_weights`; where
`plans.json` names a class, they load into it (`nnunetv2.utilities.get_network_from_plans`). nnU-Net's own predictor
lays its windows elsewhere, so labels as in the table come from the script:
""",
}
SCRIPT = """
```
python predict.py IMAGES OUT
```

An image is `<case>.nii.gz`, or one file per channel, `<case>_0000.nii.gz`, as nnU-Net names them. Label maps are
written on the grid of the image. They are those of `retable predict`, up to voxels outside the body that somebody
labelled, which nnU-Net's z-score inside a mask counts and which nobody knows of a new image. Retable needs not be
installed: the network is a program of `torch.export` ({program}), and `retable_runtime/` the part of Retable that
prepares images (Apache-2.0). Needed are: {packages}.
"""
WARNING = {
    "demo": "**Demo scale: a narrowed network, trained for seconds. Its labels mean nothing; it shows that the export "
    "works.**",
    "pilot": "**Pilot scale: trained for a share of the steps. Its scores cannot be compared with published ones.**",
}


def model_card(
    catalog: Catalog, layout: Layout, config: RunConfig, weights: WeightsAtHand, to: str, packages: list[str]
) -> str:
    """Markdown; `to` is the tool that the folder is for, `packages` what its code imports."""
    return "\n".join(_lines(catalog, layout, config, weights, to, packages)) + "\n"


def _lines(
    catalog: Catalog, layout: Layout, config: RunConfig, weights: WeightsAtHand, to: str, packages: list[str]
) -> Iterator[str]:
    paper, dataset = catalog.papers[config.run.split("/")[0]].paper, get_dataset(config.dataset)
    yield f"# {config.run}\n"
    if config.scale in WARNING:
        yield f"{WARNING[config.scale]}\n"
    recipe = f"“{paper.title}” ({paper.venue}, {paper.year})"
    yield f"{network_of(config)}, trained by the recipe of {recipe} with Retable {code_version()}."
    yield "For research; it is no medical device.\n\n## How to use it\n"
    yield USE[to]
    program = "models/model.pt2" if to == "monai-bundle" else "fold_0/model.pt2"
    yield SCRIPT.format(program=f"`{program}`", packages=", ".join(packages))
    yield "## Data\n"
    structures = ", ".join(config.labels or dataset.label_names)
    place = dataset.homepage or "no address known"
    yield f"{dataset.title} ({place}), {dataset.modality}, licence: {dataset.licence}.\n"
    yield f"Structures, from 1 on: {structures}.\n"
    yield "## Licence\n"
    yield from _licence(weights, dataset.licence)
    yield "\n## Scores\n"
    yield from _scores(catalog, layout, config)
    yield "\n## Recipe\n"
    yield f"Scale {config.scale}, seed {config.seed}; digest of all settings {config.digest}, of the weights"
    yield f"{weights.sha256}.\n"
    settings = settings_of(catalog, config.run, config.scale, ("",))
    lines = [[key, str(value), f"{origin.kind}: {origin.text}", "" if value == printed else str(printed)]
             for key, value, printed, origin in settings]  # fmt: skip
    yield aligned([["setting", "value", "where from", "at the paper's scale"], *lines])


def _licence(weights: WeightsAtHand, data: str) -> Iterator[str]:
    if weights.released is not None:
        source = weight_source(weights.released)
        yield f"The weights are those of the release {source.name}, whose licence is: {source.licence}."
    else:
        yield (
            f"The weights were trained on data under: {data}. Whether and how they may be passed on follows from those "
            "terms, and from those of any released weights that the training began from (see the recipe); Retable "
            "grants nothing beyond its own code (Apache-2.0)."
        )


def _scores(catalog: Catalog, layout: Layout, config: RunConfig) -> Iterator[str]:
    """Every rebuilt cell that rests on the run."""
    found = [one for one in rebuilt_results(catalog, layout, config.scale) if config.run in one.runs.split()]
    if not found:
        yield "None yet: no table with this run has been built in the results folder that it was exported from."
        return
    yield aligned(
        [
            ["table", "row", "column", "published", "rebuilt", "cases", "verdict", "convention"],
            *(
                [one.target, one.row, one.column, one.published, one.rebuilt, one.n, one.verdict, one.convention]
                for one in found
            ),
        ]
    )
