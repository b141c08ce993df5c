"""What a network begins from: the weights of other trainings, and released ones.

A network that can begin from other trainings has a method

    begin_from(part: str, state: dict[str, Tensor]) -> LoadReport

that takes what it uses of their state dict and says what that was; `part` is its name in paper_tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import InputError
from benchmark.models.released import LoadReport, load_released, weight_source
from benchmark.models.weights_at_hand import WeightsAtHand
from benchmark.progress import say
from benchmark.settings import RunConfig


def begin(network: nn.Module, config: RunConfig, beginnings: Sequence[WeightsAtHand]) -> None:
    """Load the weights that a training begins from, in place: released ones first. What was loaded is said.

    Raises:
        InputError: they do not fit, or the network cannot begin from another training.
    """
    for weights in beginnings:
        if weights.released is not None:
            patterns = weight_source(weights.released).partial_for(config.model.name)
            loaded = load_released(network, weights.path, allow_partial=patterns)
            say(f"initialised from {weights.released}: {loaded}")
    trained = [weights for weights in beginnings if weights.released is None]
    for edge, weights in zip(config.begins_from, trained, strict=True):
        take: Callable[[str, dict[str, Tensor]], LoadReport] | None = getattr(network, "begin_from", None)
        if take is None:
            raise InputError(
                f"{config.model.name} cannot begin from another training",
                where=f"benchmark/models/{config.model.name}.py",
                expected="a method begin_from(part, state)",
                found=f"begins_from: {edge.part}",
            )
        report = take(edge.part, load_file(weights.path))
        say(f"{edge.part} begins from {edge.training}: {report}")
