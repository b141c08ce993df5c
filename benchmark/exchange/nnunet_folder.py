"""A trained run in nnU-Net's words: dataset.json, plans.json and fold_0/checkpoint_final.pth.

`plans.json` says in nnU-Net's keys how the run prepares and what its network is. Of networks that nnU-Net has itself
the checkpoint loads into nnU-Net's own class; all predict by the program and the script beside it, as their protocol
says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from benchmark.files import atomic_path, write_json

if TYPE_CHECKING:
    from benchmark.exchange.export import Exported

SCHEMES = {
    "ct_global": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "zscore_planned": "ZScoreNormalization",
    "unit": "RescaleTo01Normalization",
    "symmetric": "NoNormalization",  # nnU-Net has none for it; the exported program windows the images itself
    "none": "NoNormalization",
}
CLASSES = {PlainConvUNet: "n_conv_per_stage", ResidualEncoderUNet: "n_blocks_per_stage"}


def write_nnunet(exported: Exported, out: Path) -> None:
    """Write the three files; the program, the carried code and the card are there already."""
    write_json(out / "dataset.json", dataset_json(exported))
    write_json(out / "plans.json", plans_json(exported))
    content = {"network_weights": exported.network.state_dict(), "trainer_name": "retable", "init_args": {}}
    with atomic_path(out / "fold_0" / "checkpoint_final.pth") as temporary:
        torch.save(content, temporary)


def dataset_json(exported: Exported) -> dict[str, Any]:
    dataset = exported.dataset
    return {
        "name": dataset.title,
        "licence": dataset.licence,
        "reference": dataset.homepage,
        "channel_names": {str(number): name for number, name in enumerate(exported.channels)},
        "labels": {name: value for value, name in exported.labels.items()},
        "file_ending": ".nii.gz",
    }


def plans_json(exported: Exported) -> dict[str, Any]:
    """One configuration; lengths and sides in the order of the prepared array's axes."""
    config, plan = exported.config, exported.plan
    preparation = config.preparation
    spacing = plan.get("spacing") if isinstance(preparation.spacing, str) else preparation.spacing
    resampling = preparation.resampling
    return {
        "dataset_name": exported.config.dataset,
        "plans_name": "retable",
        "experiment_planner_used": f"none: {config.run}",
        "label_manager": "LabelManager",
        "transpose_forward": list(range(exported.dataset.spatial_dims)),
        "transpose_backward": list(range(exported.dataset.spatial_dims)),
        "orientation": preparation.orientation,
        "foreground_intensity_properties_per_channel": {
            str(number): values for number, values in enumerate(plan.get("intensities", ()))
        },
        "configurations": {
            "2d" if len(exported.patch) == 2 else "3d_fullres": {
                "batch_size": config.training.batch,
                "patch_size": list(exported.patch),
                "spacing": spacing and list(spacing),
                "normalization_schemes": [SCHEMES[preparation.normalise]] * len(exported.channels),
                "use_mask_for_norm": [bool(plan.get("mask"))] * len(exported.channels),
                "intensity_window": preparation.clip and list(preparation.clip),
                "resampling": resampling and resampling.model_dump(mode="json"),
                "batch_dice": config.training.loss.batch_dice,
                "architecture": architecture(exported.network),
            }
        },
    }


def architecture(network: nn.Module) -> dict[str, Any]:
    """Class and arguments of nnU-Net's own U-Nets; of other networks a null class."""
    if not isinstance(network, (PlainConvUNet, ResidualEncoderUNet)):
        return {"network_class_name": None, "arch_kwargs": {}, "_kw_requires_import": []}
    kind = next(kind for kind in CLASSES if isinstance(network, kind))
    encoder, decoder = network.encoder, network.decoder
    stages = [len(getattr(stage, "blocks", ())) or len(stage[-1].convs) for stage in encoder.stages]
    return {
        "network_class_name": _dotted(kind),
        "arch_kwargs": {
            "n_stages": len(encoder.strides),
            "features_per_stage": list(encoder.output_channels),
            "conv_op": _dotted(encoder.conv_op),
            "kernel_sizes": [list(sides) for sides in encoder.kernel_sizes],
            "strides": [list(sides) for sides in encoder.strides],
            CLASSES[kind]: stages,
            "n_conv_per_stage_decoder": [len(stage.convs) for stage in decoder.stages],
            "conv_bias": encoder.conv_bias,
            "norm_op": _dotted(encoder.norm_op),
            "norm_op_kwargs": encoder.norm_op_kwargs,
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": _dotted(encoder.nonlin),
            "nonlin_kwargs": encoder.nonlin_kwargs,
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"
