"""What every network promises, asked of one with its demo options: `retable check` and the tests ask the same.

A check is a function of a `Subject` that returns what it measured, in words, or raises `CheckFailed`. A network whose
forward never reaches some parameters names them in its attribute `unused_parameters`, a tuple of `fnmatch` patterns
over parameter names (data-parallel training needs to know).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.registry import ModelEntry, build, full_resolution, model_entry

CLASSES = 3
DEMO_PARAMETERS = 2_000_000
LEARNING_RATES = (1e-2, 3e-3)  # plain transformers want the lower
STEPS = 30
ODD_SIZES = ((33, 29, 29), (47, 32, 32))  # no multiples of anything that a network halves by
NAMES_SHOWN = 3


class CheckFailed(Exception):
    """A network does not keep a promise: what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class Subject:
    """One network with its demo options, in one of the input dimensions that it supports."""

    name: str
    dimensions: int

    @property
    def entry(self) -> ModelEntry:
        return model_entry(self.name)

    def rounded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The first sides of a shape, each the next multiple of what the network declares."""
        multiple = self.entry.multiple_of
        return tuple(-(-side // multiple) * multiple for side in shape[: self.dimensions])

    def shape(self) -> tuple[int, ...]:
        """One side twice as long: a pyramid of five halvings would leave one voxel, which InstanceNorm refuses."""
        side = {2: 64, 3: 32}[self.dimensions]
        return self.rounded((side,) * (self.dimensions - 1) + (2 * side,))

    def build(
        self,
        shape: Sequence[int] | None = None,
        *,
        seed: int = 0,
        in_channels: int = 1,
        out_channels: int = CLASSES,
        **options: Any,
    ) -> nn.Module:
        torch.manual_seed(seed)
        options = {**self.entry.demo, **options}
        shape = shape or self.shape()
        return build(self.name, in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, **options)

    @cached_property
    def network(self) -> nn.Module:
        """Checks leave its weights and mode (evaluation) as they find them."""
        return self.build().eval()

    @cached_property
    def patch(self) -> tuple[Tensor, Tensor]:
        """Images [2, 1, *shape] and labels [2, *shape]: nested ellipsoids of three intensities under noise.

        Two samples, since small convolutions of a single one miss PyTorch's fast CPU path.
        """
        axes = [torch.linspace(-1, 1, side) for side in self.shape()]
        radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
        labels = torch.stack([(radius < outer).long() + (radius < 0.5).long() for outer in (0.9, 0.8)])
        noise = 0.05 * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
        return (torch.tensor([0.1, 0.5, 0.9])[labels] + noise)[:, None], labels

    @cached_property
    def logits(self) -> Tensor:
        return evaluate(self.network, self.patch[0])


@torch.no_grad()
def evaluate(network: nn.Module, image: Tensor) -> Tensor:
    return full_resolution(network(image))


def loss(network: nn.Module, image: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over all outputs, the labels brought to each one's size."""
    output = network(image)
    terms = []
    for logits in output if isinstance(output, (list, tuple)) else [output]:
        at_this_size = functional.interpolate(labels[:, None].float(), size=logits.shape[2:], mode="nearest")[:, 0]
        terms.append(functional.cross_entropy(logits.float(), at_this_size.long()))
    return torch.stack(terms).mean()


def check_size(subject: Subject) -> str:
    """It is built, and is small at demo scale."""
    parameters = sum(parameter.numel() for parameter in subject.network.parameters())
    if parameters >= DEMO_PARAMETERS:
        raise CheckFailed(
            f"{parameters:,} parameters with its demo options",
            f'give options that make it smaller than {DEMO_PARAMETERS:,}: @register("{subject.name}", demo={{…}})',
        )
    return f"{parameters:,} parameters with its demo options"


def check_output(subject: Subject) -> str:
    """Logits as large as the image, a channel for every class, all finite."""
    shape = _expect_shape(subject.logits, (2, CLASSES, *subject.patch[0].shape[2:]))
    if not torch.isfinite(subject.logits).all():
        raise CheckFailed("logits are NaN or infinite before any training", "look for divisions and logarithms of 0")
    return f"logits {list(shape)}"


def check_classes(subject: Subject) -> str:
    """It takes as many channels and gives as many classes as it is asked for."""
    network = subject.build(in_channels=3, out_channels=5).eval()
    image = torch.rand(1, 3, *subject.shape())
    return f"3 channels to {_expect_shape(evaluate(network, image), (1, 5, *subject.shape()))[1]} classes"


def check_other_sizes(subject: Subject) -> str:
    """Built for oblongs, it takes them; odd ones, where it does not declare a multiple."""
    shapes = [subject.rounded(shape) for shape in ODD_SIZES]
    for shape in shapes:
        network = subject.build(shape).eval()
        _expect_shape(evaluate(network, torch.rand(1, 1, *shape)), (1, CLASSES, *shape))
    return " and ".join("×".join(map(str, shape)) for shape in shapes)


def check_other_inputs(subject: Subject) -> str:
    """A built network takes smaller inputs than it was built for; larger ones it takes, or refuses by a ValueError."""
    multiple = subject.entry.multiple_of
    smaller = tuple(side - (3 if multiple == 1 else multiple) for side in subject.shape())
    if min(smaller) > 0:
        _expect_shape(evaluate(subject.network, torch.rand(1, 1, *smaller)), (1, CLASSES, *smaller))
    refusal = refusal_of_larger(subject)
    return f"smaller ones; larger ones are refused: {refusal}" if refusal else "smaller and larger ones"


def refusal_of_larger(subject: Subject) -> str | None:
    """What a network says to inputs that are larger than it was built for; None where it takes them."""
    larger = tuple(side + subject.entry.multiple_of for side in subject.shape())
    try:
        logits = evaluate(subject.network, torch.rand(1, 1, *larger))
    except ValueError as error:
        return str(error)
    _expect_shape(logits, (1, CLASSES, *larger))
    return None


def check_evaluation(subject: Subject) -> str:
    """In evaluation the same image gives the same logits, whatever stands beside it in the batch."""
    image = subject.patch[0]
    alone, again = evaluate(subject.network, image[1:]), evaluate(subject.network, image[1:])
    if not torch.equal(alone, again):
        raise CheckFailed(
            "the same image gives other logits the second time, in evaluation",
            "draw random numbers only `if self.training`, and use nn.Dropout rather than functional.dropout",
        )
    if not torch.allclose(alone, subject.logits[1:], rtol=1e-3, atol=1e-4):
        raise CheckFailed(
            "the logits of an image depend on the others of its batch, in evaluation",
            "normalise over a sample (InstanceNorm, LayerNorm), or by running statistics (BatchNorm in evaluation)",
        )
    return "deterministic, and samples do not mix"


def check_state(subject: Subject) -> str:
    """Its weights, saved and loaded into a network of another seed, give the same logits."""
    other = subject.build(seed=1).eval()
    try:
        other.load_state_dict(subject.network.state_dict(), strict=True)
    except RuntimeError as error:
        raise CheckFailed(f"weights do not load: {error}", "make the same parameters at every seed") from error
    if not torch.equal(evaluate(other, subject.patch[0]), subject.logits):
        raise CheckFailed(
            "with loaded weights the logits differ: something that was drawn or counted is not in the state dict",
            "keep it as nn.Parameter, or with self.register_buffer",
        )
    return f"{len(subject.network.state_dict())} tensors"


def check_gradients(subject: Subject) -> str:
    """Every parameter that is trained gets a finite gradient, or is named in `unused_parameters`."""
    network = subject.build().train()
    loss(network, *subject.patch).backward()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    unused = [name for name, parameter in trained.items() if parameter.grad is None]
    patterns = getattr(network, "unused_parameters", ())
    if dead := [name for name in unused if not any(fnmatch(name, pattern) for pattern in patterns)]:
        raise CheckFailed(
            f"no gradient reaches {_some(dead)}",
            "use it in forward, remove it, or name it in the attribute `unused_parameters` of the network",
        )
    if idle := [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in unused)]:
        raise CheckFailed(f"`unused_parameters` names what is used: {_some(idle)}", "remove it there")
    infinite = [name for name, p in trained.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    if infinite:
        raise CheckFailed(f"the gradient of {_some(infinite)} is not finite", "look for roots and logarithms of 0")
    named = f", {len(unused)} named as unused" if unused else ""
    return f"reach {len(trained) - len(unused)} of {len(trained)} tensors{named}"


def check_learning(subject: Subject) -> str:
    """The loss on one patch halves within 30 steps, at the first learning rate that does."""
    histories = []
    for rate in LEARNING_RATES:
        losses = learn(subject.build().train(), subject.patch, rate)
        if losses[-1] < losses[0] / 2:
            return f"the loss of one patch falls from {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps"
        histories.append(f"{losses[0]:.2f} to {losses[-1]:.2f} at a rate of {rate:g}")
    raise CheckFailed(
        f"in {STEPS} steps the loss of one patch goes from {', and from '.join(histories)}: it does not halve",
        "look at the initialisation, at activations after the last layer, and at what is detached",
    )


def learn(network: nn.Module, patch: tuple[Tensor, Tensor], rate: float) -> list[float]:
    """The loss of at most 30 steps, ending early once it is halved."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=rate)
    losses: list[float] = []
    while len(losses) < STEPS and (not losses or losses[-1] >= losses[0] / 2):
        optimiser.zero_grad()
        value = loss(network, *patch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 10.0)
        optimiser.step()
        losses.append(value.item())
    return losses


def _expect_shape(logits: object, expected: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(logits, Tensor):
        raise CheckFailed(
            f"forward gives a {type(logits).__name__}",
            "give logits [B, classes, *spatial], or a list of them, full resolution first",
        )
    if tuple(logits.shape) == expected:
        return expected
    if logits.shape[1:2] != expected[1:2]:
        raise CheckFailed(
            f"{list(logits.shape)[1]} classes where {expected[1]} were asked for: logits {list(logits.shape)}",
            "give the last layer `out_channels` channels (background included)",
        )
    raise CheckFailed(
        f"logits {list(logits.shape)} where {list(expected)} are expected",
        "give logits as large as the image; where its sides have to be multiples of a number, declare that: "
        "@register(…, multiple_of=16)",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else "")


CHECKS: dict[str, Callable[[Subject], str]] = {
    "demo size": check_size,
    "output": check_output,
    "classes": check_classes,
    "built for other sizes": check_other_sizes,
    "other inputs": check_other_inputs,
    "evaluation": check_evaluation,
    "state dict": check_state,
    "gradients": check_gradients,
    "learning": check_learning,
}
