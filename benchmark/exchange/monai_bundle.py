"""The layout of a MONAI bundle: configs/metadata.json, configs/inference.json, models/."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from benchmark.exchange.carry import NAME
from benchmark.files import atomic_path, write_json
from benchmark.version import code_version

if TYPE_CHECKING:
    from benchmark.exchange.export import Exported

PARTS = f"{NAME}.exchange.portable_monai"
PROJECTS = {"PIL": "pillow", "cc3d": "connected-components-3d", "yaml": "pyyaml"}  # named otherwise than imported
NAMED_APART = {"torch", "monai", "numpy"}


def write_bundle(exported: Exported, out: Path) -> None:
    """Write configs and weights; the program, the carried code and the card are there already."""
    write_json(out / "configs" / "metadata.json", metadata(exported))
    write_json(out / "configs" / "inference.json", inference(exported))
    state = {name: tensor.contiguous().clone() for name, tensor in exported.network.state_dict().items()}
    with atomic_path(out / "models" / "model.safetensors") as temporary:
        save_file(state, temporary)


def metadata(exported: Exported) -> dict[str, Any]:
    """metadata.json, with the keys that MONAI's bundle specification asks for."""
    config, dataset, sides = exported.config, exported.dataset, list(exported.patch)
    image = {"format": "image", "spatial_shape": sides, "dtype": "float32", "is_patch_data": True}
    others = [PROJECTS.get(name, name) for name in exported.packages if name not in NAMED_APART]
    return {
        "version": code_version(),
        "changelog": {code_version(): f"exported from {config.run}"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__,
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {name: importlib.metadata.version(name) for name in others},
        "name": config.run,
        "task": f"segmentation of {len(exported.labels) - 1} structures of {dataset.title}",
        "description": f"{config.run}, scale {config.scale}; README.md says how it was trained and what it scores",
        "authors": "Retable",
        "copyright": f"weights: see README.md; data: {dataset.licence}",
        "intended_use": "research; no medical device",
        "data_source": dataset.homepage or dataset.title,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    **image,
                    "modality": dataset.modality,
                    "num_channels": len(exported.channels),
                    "value_range": [],
                    "channel_def": {str(number): name for number, name in enumerate(exported.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    **image,
                    "num_channels": len(exported.labels),
                    "value_range": [],
                    "channel_def": {str(value): name for value, name in exported.labels.items()},
                }
            },
        },
    }


def inference(exported: Exported) -> dict[str, Any]:
    """inference.json: MONAI's sliding window between the carried preparation and its way back."""
    return {
        "imports": [
            "$import torch",
            *(f"$from {NAME}.exchange.portable import {name}" for name in ("Predictor", "WindowNetwork", "cases_in")),
            f"$from {PARTS} import label_all",  # MONAI reads one name from each of these lines
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "predictor": "$Predictor(@bundle_root, @device)",
        "network": "$WindowNetwork(@predictor)",
        "datalist": f"$cases_in(@dataset_dir, {len(exported.channels)})",
        "preprocessing": {"_target_": f"{PARTS}.PrepareImage", "predictor": "@predictor"},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": inferer(exported),
        "postprocessing": {"_target_": f"{PARTS}.WriteLabels", "predictor": "@predictor", "folder": "@output_dir"},
        "run": ["$label_all(@dataloader, @network, @inferer, @postprocessing, @device)"],
    }


def inferer(exported: Exported) -> dict[str, Any]:
    """MONAI's sliding window as the run lays it; for whole resized images, a part of the carried code."""
    settings = exported.config.inference
    if settings.method == "whole":
        return {"_target_": f"{PARTS}.WholeImages", "predictor": "@predictor"}
    patch = list(exported.patch)
    if settings.method == "slices":
        patch.insert(settings.slice_axis, 1)
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": patch,
        "sw_batch_size": settings.window_batch,
        "overlap": settings.overlap,
        "mode": settings.weighting,
        "sigma_scale": settings.sigma_scale,
    }
