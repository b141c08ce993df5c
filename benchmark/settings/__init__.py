"""What decides a run's result: typed settings of each stage, and `RunConfig`, which joins them.

These are the values after provenance tags are stripped (see `catalog.provenance`). Field descriptions are the user's
documentation: the JSON schemas in workflow/schemas are generated from them.
"""

from __future__ import annotations

from benchmark.settings.base import ELSEWHERE, RELEASED, Scale, Settings, Step
from benchmark.settings.inference import Features, FirstStage, Inference, ReceptiveField
from benchmark.settings.preparation import Preparation, Resampling
from benchmark.settings.run import Beginning, ModelSpec, PreparedData, RunConfig
from benchmark.settings.training import (
    Loss,
    MaskedImages,
    Optimiser,
    Prompted,
    PromptedLoss,
    Refinement,
    Sampling,
    Schedule,
    Selection,
    Training,
)
from benchmark.settings.whole_images import Resize, SliceRange

__all__ = [
    "ELSEWHERE",
    "RELEASED",
    "Beginning",
    "Features",
    "FirstStage",
    "Inference",
    "Loss",
    "MaskedImages",
    "ModelSpec",
    "Optimiser",
    "Preparation",
    "PreparedData",
    "Prompted",
    "PromptedLoss",
    "ReceptiveField",
    "Refinement",
    "Resampling",
    "Resize",
    "RunConfig",
    "Sampling",
    "Scale",
    "Schedule",
    "Selection",
    "Settings",
    "SliceRange",
    "Step",
    "Training",
]
