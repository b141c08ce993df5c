"""The registry of networks: one module per network, found by its file name.

The name of a network is the name of its module in `benchmark/models/`, so that the catalog can tell which networks
exist without importing torch. A module registers exactly its own name.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.errors import InputError, did_you_mean
from benchmark.own import load_module, own_files, refuse_taken

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmark.settings import RunConfig

Builder = TypeVar("Builder", bound="Callable[..., nn.Module]")

NOT_NETWORKS = {"__init__", "checks", "registry", "released", "checkpoint_files", "weights_at_hand"}


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a network before it is built.

    Attributes:
        name: registered name, equal to the module's file name.
        builder: called with keyword arguments `in_channels, out_channels, spatial_shape` and the options.
        demo: options that make it small (under 2 M parameters) for the demo scale.
        spatial_dims: the input dimensions it supports, e.g. (3,) or (2, 3).
        decoder: dotted name of the submodule whose first argument is the encoder's deepest features, or a list of
            levels that ends in them; None where no such place is declared.
        channels_last: those features are [B, *spatial, C], not [B, C, *spatial].
        prompted: it answers to points, by the methods `encode` and `decode` of `layers.sam.prompted`.
        joint: it has a head per dataset, by the options `heads` (classes of each) and `head` (the one that is used, or
            None where a training uses all), and its `forward` takes the number of each sample's dataset.
        multiple_of: each side of its inputs has to be a multiple of this; those of a training patch are held to it.
    """

    name: str
    builder: Callable[..., nn.Module]
    demo: dict[str, Any] = field(default_factory=dict)
    spatial_dims: tuple[int, ...] = (3,)
    decoder: str | None = None
    channels_last: bool = False
    prompted: bool = False
    joint: bool = False
    multiple_of: int = 1


_entries: dict[str, ModelEntry] = {}


def register(
    name: str,
    *,
    demo: dict[str, Any] | None = None,
    spatial_dims: Sequence[int] = (3,),
    decoder: str | None = None,
    channels_last: bool = False,
    prompted: bool = False,
    joint: bool = False,
    multiple_of: int = 1,
) -> Callable[[Builder], Builder]:
    """Class or function decorator that enters a network under `name`; the keywords are those of `ModelEntry`.

    Raises:
        ValueError: `name` is taken by another builder.
    """

    def enter(builder: Builder) -> Builder:
        if name in _entries and _entries[name].builder.__module__ != builder.__module__:
            raise ValueError(
                f"two networks are registered as {name!r}: {_entries[name].builder.__module__} and {builder.__module__}"
            )
        _entries[name] = ModelEntry(
            name, builder, dict(demo or {}), tuple(spatial_dims), decoder, channels_last, prompted, joint, multiple_of
        )
        return builder

    return enter


def available_models() -> list[str]:
    """Names of all networks that exist, those of one's own among them, sorted; torch is not imported."""
    ours = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_NETWORKS]
    own = own_files("networks", ".py")
    refuse_taken("networks", own, ours)
    return sorted([*ours, *own])


def model_entry(name: str) -> ModelEntry:
    """The entry of one network; imports its module.

    Raises:
        InputError: there is no such network, or a file of one's own cannot be imported or registers another name.
    """
    if name not in available_models():
        raise InputError(
            f"unknown network {name!r}{did_you_mean(name, available_models())}",
            expected="one of " + ", ".join(available_models()),
            remedy=f"add benchmark/models/{name}.py, or correct the name in paper_tables",
        )
    own = own_files("networks", ".py").get(name)
    if own is None:
        importlib.import_module(f"benchmark.models.{name}")
        return _entries[name]
    load_module(own)
    if name not in _entries:
        raise InputError(
            "a network is registered under the name of its file", where=own, expected=f'@register("{name}")'
        )
    return _entries[name]


def build(
    name: str,
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    **options: Any,
) -> nn.Module:
    """Build a network.

    Args:
        name: a name from `available_models()`.
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: nominal input size, 2 or 3 sides; networks with position tables are tied to it.
        **options: the network's own keyword arguments (see its module).

    Returns:
        A module that maps [B, in_channels, *spatial] to logits [B, out_channels, *spatial], or, where deep supervision
        is on, to a list of logits, full resolution first. Its `registered_name` is `name`.

    Raises:
        InputError: unknown network, unknown option, or an option value the network refuses.
    """
    entry = model_entry(name)
    spatial_shape = tuple(int(side) for side in spatial_shape)
    if len(spatial_shape) not in entry.spatial_dims:
        raise InputError(
            f"{name} takes {' or '.join(f'{d}-D' for d in entry.spatial_dims)} input",
            expected=f"spatial_shape of length {entry.spatial_dims}",
            found=spatial_shape,
        )
    if any(side % entry.multiple_of for side in spatial_shape):
        raise InputError(
            f"{name} cannot be built for this patch",
            expected=f"sides that are multiples of {entry.multiple_of}",
            found=spatial_shape,
        )
    _refuse_unknown_options(entry, options)
    try:
        network = entry.builder(
            in_channels=in_channels, out_channels=out_channels, spatial_shape=spatial_shape, **options
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} cannot be built: {error}", found=f"options {options}", remedy=f"see benchmark/models/{name}.py"
        ) from error
    setattr(network, "registered_name", name)  # noqa: B010 (declared attributes of a module are tensors and modules)
    return network


def allowed_options(entry: ModelEntry) -> list[str]:
    """Names of a builder's options; one that hands `**options` on has those of the class behind it as well."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = {"self", "in_channels", "out_channels", "spatial_shape", "spatial_dims"}
    parameters = [parameter for signature in _signatures(entry.builder) for parameter in signature.parameters.values()]
    return sorted({parameter.name for parameter in parameters if parameter.kind in named} - given)


def _signatures(builder: Callable[..., nn.Module]) -> Iterator[inspect.Signature]:
    """Of the builder and, as long as they hand `**options` on, of the class that it returns and of that one's bases."""
    is_class = isinstance(builder, type)
    built = builder if is_class else builder.__globals__.get(inspect.signature(builder).return_annotation)
    bases = built.__mro__ if isinstance(built, type) else ()
    constructors = (vars(base)["__init__"] for base in bases if "__init__" in vars(base))
    for call in [*([] if is_class else [builder]), *constructors]:
        signature = inspect.signature(call)
        yield signature
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            return


def _refuse_unknown_options(entry: ModelEntry, options: Mapping[str, Any]) -> None:
    allowed = allowed_options(entry)
    for name in options:
        if name not in allowed:
            raise InputError(
                f"{entry.name} cannot be built: it has no option {name!r}{did_you_mean(name, allowed)}",
                expected="any of " + ", ".join(allowed),
                remedy=f"see benchmark/models/{entry.name}.py",
            )


def build_for_run(config: RunConfig, *, in_channels: int, out_channels: int) -> nn.Module:
    """The network of a run, on its training patch; narrowed at demo scale by the `demo` options of row or network.

    Where the loss has no weights for several outputs, a network that could give them gives one. Where it is trained on
    masked images, it gives as many channels as they have, and `out_channels` does not count. Of a joint training the
    network has the heads that the configuration counts, whichever of them a run uses.

    Raises:
        InputError: as `build`, or the run needs a network that answers to points.
    """
    name, options = config.model.name, dict(config.model.options)
    entry = model_entry(name)
    if config.scale == "demo":
        options |= entry.demo if config.model.demo is None else config.model.demo
    if config.heads:
        options |= {"heads": config.heads, "head": config.head}
        if not entry.joint:
            raise InputError(
                f"{name} has one head", expected="a network with a head per dataset", found=f"{len(config.heads)} heads"
            )
    asked = config.training.objective == "prompted" or config.inference.method == "prompted"
    if asked and not entry.prompted:
        raise InputError(
            f"{name} does not answer to points",
            where=config.run,
            expected="a network with `prompted=True`, such as sam",
            remedy="choose the objective segmentation and the method whole",
        )
    if config.training.loss.deep_supervision is None and "deep_supervision" in allowed_options(entry):
        options.setdefault("deep_supervision", False)
    if config.training.masked_images is not None:
        out_channels = in_channels
    try:
        return build(
            name, in_channels=in_channels, out_channels=out_channels, spatial_shape=config.training.patch, **options
        )
    except InputError as error:
        paper, _, model, _ = config.run.split("/")
        raise error.at(f"paper_tables/{paper}/models.yaml: {model}") from error


def full_resolution(output: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The logits at input resolution, whether or not deep supervision is on."""
    return output[0] if isinstance(output, (list, tuple)) else output
