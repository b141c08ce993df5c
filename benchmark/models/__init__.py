"""Networks: one module each. Importing this package does not import torch; building a network does."""

from benchmark.models.registry import available_models, build, full_resolution, model_entry, register
from benchmark.models.released import load_released

__all__ = ["available_models", "build", "full_resolution", "load_released", "model_entry", "register"]
