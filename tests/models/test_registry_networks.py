"""What every network promises, asked of all of them with their demo options: `benchmark.models.checks`, and more."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from benchmark.catalog.catalog import load_catalog
from benchmark.errors import InputError
from benchmark.models.checks import CHECKS, CLASSES, Subject, evaluate, loss, refusal_of_larger
from benchmark.models.layers.swin_pyramid import PyramidParts
from benchmark.models.registry import available_models, full_resolution, model_entry

# Networks that can recompute activations in the backward pass: every volumetric one of ours above 50 M parameters, and
# those that share their parts.
CHECKPOINTED = {
    "dints", "med3d", "mednext", "nnformer", "phtrans", "repuxnet", "stunet", "swin_smt", "swin_unetr", "unest",
    "universal_model", "uxnet",
}  # fmt: skip
# With one row per patch of the input they were built for; all of the SAM family.
POSITION_TABLES = {
    "autosam", "desam", "h_sam", "medsam", "moe_sam", "msa", "sam", "sam_med2d", "samed", "samus", "transunet", "unest",
    "unetr",
}  # fmt: skip
SUPERVISED = {
    "h_sam", "mednext", "moe_sam", "nnformer", "nnformer_2d", "nnunet", "phtrans", "samed", "stunet", "swin_umamba",
    "swin_umamba_d", "umamba",
}  # fmt: skip


class Case(Subject):
    def takes(self, option: str) -> bool:
        try:
            self.build(**{option: True})
        except InputError:
            return False
        return True


def all_cases() -> list[tuple[str, int]]:
    """Every registered network in every dimension; one that cannot be imported becomes a case that fails."""
    cases = []
    for name in available_models():
        try:
            dimensions = model_entry(name).spatial_dims
        except Exception:
            dimensions = (0,)  # importing it again inside the test shows the traceback there
        cases += [(name, d) for d in dimensions]
    return cases


def in_one_process(case: tuple[str, int]) -> object:
    """Tests of one network share what was built of it; those of all networks would keep a process for long."""
    name = f"{case[0]}-{case[1]}d"
    return pytest.param(case, id=name, marks=pytest.mark.xdist_group(f"models/test_registry_networks {name}"))


@pytest.fixture(scope="module", params=map(in_one_process, all_cases()))
def case(request: pytest.FixtureRequest) -> Case:
    name, dimensions = request.param
    if dimensions == 0:
        importlib.import_module(f"benchmark.models.{name}")
    return Case(name, dimensions)


@pytest.fixture(scope="module")
def network(case: Case) -> nn.Module:
    """The network at demo scale. Tests leave its weights and mode (evaluation) as they find them."""
    return case.network


@pytest.fixture(scope="module")
def patch(case: Case) -> tuple[Tensor, Tensor]:
    return case.patch


@pytest.fixture(scope="module")
def logits(case: Case) -> Tensor:
    return case.logits


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_what_every_network_promises(case: Case, check: str) -> None:
    assert CHECKS[check](case)


def test_only_networks_with_position_tables_refuse_larger_inputs(case: Case) -> None:
    refusal = refusal_of_larger(case)
    assert (refusal is not None) == (case.name in POSITION_TABLES)
    if refusal is not None:
        assert re.search("larger than .* which this network was built for", refusal)


PLANNED = {"nnunet", "umamba"}  # by nnU-Net's rules, which leave a side of less than eight no second stage


@pytest.mark.parametrize("side", [1, 16, 32])
def test_small_images(case: Case, side: int) -> None:
    """In training too, where nothing can be normalised over one element."""
    shape = (side,) * case.dimensions
    network = case.build((max(side, 8),) * case.dimensions).train()
    logits = full_resolution(network(torch.rand(1, 1, *shape)))
    assert logits.shape == (1, CLASSES, *shape) and torch.isfinite(logits).all()


def test_a_patch_without_a_second_stage_is_refused_with_the_smallest_side(case: Case) -> None:
    if case.name in PLANNED:
        with pytest.raises(InputError, match=rf"{case.name} cannot be built: a patch of \(4, .* 8 or more"):
            case.build((4,) * case.dimensions)


def test_a_pickled_copy_computes_the_same(network: nn.Module, logits: Tensor, patch: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(evaluate(pickle.loads(pickle.dumps(network)), patch[0]), logits)


def test_in_half_the_bits(case: Case, logits: Tensor, patch: tuple[Tensor, Tensor]) -> None:
    """Cast as a whole; autocast, which the trainings use, is another way."""
    half = evaluate(case.build().eval().bfloat16(), patch[0].bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - logits).square().mean() < 0.01 * logits.square().mean() + 1e-6


def test_an_input_of_other_dimensions_is_refused(case: Case) -> None:
    for dimensions in {1, 2, 3, 4} - set(case.entry.spatial_dims):
        with pytest.raises(InputError, match=f"{case.name} takes .*-D input"):
            case.build((32,) * dimensions)


def test_a_network_is_prompted_if_and_only_if_it_says_so(case: Case, network: nn.Module) -> None:
    assert case.entry.prompted == hasattr(network, "mask_choice")  # test_sam asks each of them


def test_every_variant_is_in_a_ledger_and_in_its_modules_docstring() -> None:
    """Options with a value "as_released" or "as_written", and the switches of the same kind that are booleans."""
    ledgers = [entry for paper in load_catalog().papers.values() for entry in paper.ledger]
    described = {entry.option for entry in ledgers if entry.option}
    variants = [("phtrans", "qkv_bias"), ("med3d", "detach_shortcut"), ("swin_smt", "mask_padding")]
    variants += [("swin_smt", "router"), ("swin_unetr", "downsample")]
    for name in available_models():
        builder = model_entry(name).builder
        hints = get_type_hints(builder.__init__ if isinstance(builder, type) else builder)
        variants += [
            (name, option) for option, hint in hints.items() if {"as_released", "as_written"} & {*get_args(hint)}
        ]
    assert len(variants) >= 10
    for name, option in variants:
        assert any(name in entry.split(":")[0] and option in entry for entry in described), (name, option)
        module = importlib.import_module(f"benchmark.models.{name}")
        assert option in f"{module.__doc__} {model_entry(name).builder.__doc__} {PyramidParts.__doc__}", (name, option)


def test_compiles_in_training_without_a_graph_break(case: Case, patch: tuple[Tensor, Tensor]) -> None:
    network, outputs = case.build().train(), []
    torch._dynamo.reset()
    for form in (network, torch.compile(network, backend="eager", fullgraph=True)):
        torch.manual_seed(0)  # of stochastic depth
        outputs.append(full_resolution(form(patch[0][:1])))
    assert outputs[1].requires_grad
    torch.testing.assert_close(outputs[1], outputs[0])


def test_deep_supervision_adds_coarser_outputs_and_changes_no_other(case: Case, patch: tuple[Tensor, Tensor]) -> None:
    assert case.takes("deep_supervision") == (case.name in SUPERVISED)
    if case.name not in SUPERVISED:
        return
    image = patch[0][:1]
    supervised, alone = (case.build(deep_supervision=on).eval() for on in (True, False))
    alone.load_state_dict({k: v for k, v in supervised.state_dict().items() if k in alone.state_dict()}, strict=True)
    levels, output = supervised(image), alone(image)
    assert isinstance(levels, list) and isinstance(output, Tensor)
    assert torch.equal(levels[0], output)
    voxels = [level.shape[2:].numel() for level in levels]
    assert len(levels) > 1 and voxels == sorted(voxels, reverse=True) and voxels[0] > voxels[1]


def test_checkpointing_keeps_less_and_changes_nothing(case: Case, patch: tuple[Tensor, Tensor]) -> None:
    """The same output, gradients and batch statistics from a training step, with fewer activations kept."""
    assert case.takes("checkpointing") == (case.name in CHECKPOINTED)
    if case.name not in CHECKPOINTED:
        return
    results, kept = [], []
    for checkpointing in (False, True):
        network = case.build(checkpointing=checkpointing).train()
        torch.manual_seed(1)  # of stochastic depth
        with counted_activations(kept):
            value = loss(network, *patch)
        value.backward()
        results.append({"loss": value.detach()} | dict(network.named_buffers()))
        results[-1] |= {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert kept[1] < 0.8 * kept[0]
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@contextmanager
def counted_activations(kept: list[int]) -> Iterator[None]:
    """Append the numbers that autograd keeps for the backward pass of what is computed inside, each storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield
    kept.append(sum(storages.values()))
