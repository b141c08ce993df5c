"""Optimisers by name: each setting reaches torch's own optimiser, over one group of all parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.catalog import load_catalog
from benchmark.cost.meta import build_on_meta
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.models.registry import build_for_run
from benchmark.settings import Optimiser
from benchmark.training.optimisers import frozen_parameters, make_optimiser

ADAM = {"learning_rate": 1e-3, "weight_decay": 0.05, "betas": (0.8, 0.95), "epsilon": 1e-5}


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_a_step_is_that_of_torch(name: str, kind: type[torch.optim.Optimizer], fused: bool | None) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    reference = kind(theirs.parameters(), lr=1e-3, weight_decay=0.05, betas=(0.8, 0.95), eps=1e-5)
    own = make_optimiser(ours, Optimiser(name=name, **ADAM), fused=fused)
    for network, optimiser in ((ours, own), (theirs, reference)):
        for scale in (1.0, 1e-6):  # a gradient as small as epsilon tells one epsilon from another
            optimiser.zero_grad()
            (network(torch.ones(2, 4)).sum() * scale).backward()
            optimiser.step()
    rounding = 0 if fused is None else 1e-7
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=rounding, atol=rounding)


def test_sgd_has_momentum_and_no_epsilon() -> None:
    settings = Optimiser(name="sgd", learning_rate=0.01, weight_decay=3e-5, momentum=0.99, nesterov=True)
    (group,) = make_optimiser(nn.Linear(2, 2), settings).param_groups
    assert (group["lr"], group["weight_decay"], group["momentum"], group["nesterov"]) == (0.01, 3e-5, 0.99, True)
    assert "eps" not in group


def test_vectors_need_not_decay() -> None:
    """SimMIM's rule: no decay for norms, biases and the mask token."""
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LayerNorm(4))
    network.mask_token = nn.Parameter(torch.ones(1, 1, 4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = make_optimiser(network, Optimiser(name="adamw", decay="matrices", **ADAM))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    decayed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert decayed == {"0.weight"}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 5


class Parted(nn.Sequential):
    """A convolution and a norm, a position table, and a head."""

    def __init__(self) -> None:
        super().__init__(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Conv3d(2, 2, 1))
        self.relative_position_bias_table = nn.Parameter(torch.ones(3, 2))

    def head(self) -> nn.Module:
        return self[2]


def test_vectors_and_position_tables_may_stay_without_decay() -> None:
    network = Parted()
    settings = Optimiser(name="adamw", learning_rate=1e-3, weight_decay=0.01, decay="no_vectors")
    groups = make_optimiser(network, settings).param_groups
    decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert decayed == {id(network[0].weight), id(network[2].weight)}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_a_head_may_have_its_own_rate() -> None:
    network = Parted()
    settings = Optimiser(name="sgd", learning_rate=1e-3, head_rate=100)
    rates = {
        id(parameter): group["rate_factor"]
        for group in make_optimiser(network, settings).param_groups
        for parameter in group["params"]
    }
    head = {id(parameter) for parameter in network[2].parameters()}
    assert {key for key, factor in rates.items() if factor == 100} == head
    with pytest.raises(InputError, match="does not say what its head is"):
        make_optimiser(nn.Linear(2, 2), settings)


@pytest.mark.parametrize(
    ("run", "epsilon"),
    [
        ("swin_umamba/abdomen_mri/swin_umamba-imagenet/seed0", 1e-5),
        ("swin_umamba_dagger/neurips_cellseg/swin_umamba_d-imagenet/seed0", 1e-5),
        ("swin_umamba/endovis17-segresnet/segresnet/seed0", 1e-5),
        ("swin_umamba/abdomen_mri-unetr/unetr/seed0", 1e-5),
        ("swin_umamba/neurips_cellseg-swinunetr/swin_unetr/seed0", 1e-5),
        ("swin_umamba/endovis17-nnformer/nnformer/seed0", 1e-8),
        ("swin_smt/totalseg/unetr/seed0", 1e-8),
    ],
)
def test_the_epsilon_of_the_ledger_is_the_one_that_runs(run: str, epsilon: float) -> None:
    assert load_catalog().run(run).training.optimiser.epsilon == epsilon


CATALOG = load_catalog()
FREEZING = sorted(
    run
    for run in {run for target in CATALOG.targets.values() for run in CATALOG.runs(target, scored=True)}
    if CATALOG.run(run).training.freeze_epochs
    and (CATALOG.run(run).model.initialisation != "scratch" or CATALOG.run(run).begins_from)
)


@pytest.mark.parametrize("run", FREEZING)
def test_every_run_that_freezes_has_something_to_freeze(run: str) -> None:
    """The whole encoder but its patch embedding, as nnUNetTrainerSwinUMamba(D) @2c1f72e; the decoder trains."""
    config = CATALOG.run(run)
    dataset = get_dataset(config.dataset)
    classes = len(dataset.label_names) + 1
    network = build_on_meta(build_for_run, config, in_channels=len(dataset.channels), out_channels=classes)
    fixed = {id(parameter) for parameter in frozen_parameters(network, freeze_epochs=config.training.freeze_epochs)}
    for name, parameter in network.named_parameters():
        assert (id(parameter) in fixed) is (name.startswith("vssm_encoder.") and "patch_embed" not in name), name


def test_the_runs_that_freeze_are_those_of_the_papers() -> None:
    assert {run.split("/")[0] for run in FREEZING} == {"swin_umamba", "swin_umamba_dagger"} and len(FREEZING) >= 15
