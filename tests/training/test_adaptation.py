"""Swin-UMamba's adaptation in paper_tables: which trainings begin from which, by the values of paper and SimMIM."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn

from benchmark.catalog import load_catalog
from benchmark.cost.meta import build_on_meta
from benchmark.datasets import get_dataset
from benchmark.models.registry import build_for_run
from benchmark.settings import RunConfig
from benchmark.training.optimisers import frozen_parameters
from benchmark.training.schedules import learning_rate

CATALOG = load_catalog()
PAPER = "swin_umamba_dagger"
RUNS = sorted(
    run
    for run in {run for target in CATALOG.targets.values() for run in CATALOG.runs(target)}
    if run.startswith(f"{PAPER}/") and CATALOG.run(run).begins_from
)
ADAPTATIONS = sorted({edge.training for run in RUNS for edge in CATALOG.run(run).begins_from})
EPOCHS = {"abdomen_mri": 50, "endovis17": 800, "neurips_cellseg": 200}  # Section IV-B


def network_of(config: RunConfig) -> nn.Module:
    dataset = get_dataset(config.dataset)
    sizes = {"in_channels": len(dataset.channels), "out_channels": len(dataset.label_names) + 1}
    return build_on_meta(build_for_run, config, **sizes)


def test_the_rows_with_a_foundation_model_begin_from_one_encoder_per_dataset_and_kind() -> None:
    assert len(RUNS) == 13
    assert len(ADAPTATIONS) == 10  # two networks and one from scratch on three datasets, and the symmetric encoder
    begun = Counter(edge.training.split("/", 1)[1] for run in RUNS for edge in CATALOG.run(run).begins_from)
    assert begun["abdomen_mri-adaptation/encoder-imagenet/seed0"] == 4  # Tables I, IV and Fig. 5 twice


@pytest.mark.parametrize("scale", ["paper", "demo"])
@pytest.mark.parametrize("run", RUNS)
def test_the_adapted_encoder_fits_and_reads_the_same_images(run: str, scale: str) -> None:
    config = CATALOG.run(run, scale)
    (edge,) = config.begins_from
    adaptation = CATALOG.run(edge.training, scale)
    assert adaptation.stores == config.stores
    assert CATALOG.trainings(run, scale) == (edge.training, run)
    network = network_of(config)
    report = network.begin_from(edge.part, network_of(adaptation).state_dict())
    encoder = {key for key in network.state_dict() if key.startswith(("vssm_encoder.", "stem."))}
    assert set(report.loaded) == encoder
    assert set(report.unexpected) == {"mask_token", "head.weight", "head.bias"}


@pytest.mark.parametrize("training", ADAPTATIONS)
def test_the_adaptation_is_the_papers_and_otherwise_simmims(training: str) -> None:
    config = CATALOG.run(training)
    recipe, masked = config.training, config.training.masked_images
    assert (recipe.patch, recipe.epochs, recipe.freeze_epochs) == ((192, 192), EPOCHS[config.dataset], 10)
    assert (masked.ratio, masked.cell, masked.token, masked.error) == (0.6, 32, 4, "l1")
    optimiser = recipe.optimiser
    assert (optimiser.name, optimiser.learning_rate, optimiser.weight_decay) == ("adamw", 2e-4, 0.05)
    assert (optimiser.decay, recipe.batch, recipe.clip_norm) == ("matrices", 128, 5.0)
    assert (recipe.sampling.strategy, recipe.sampling.slices, recipe.iterations_per_epoch) == ("whole", "all", None)


@pytest.mark.parametrize("training", ADAPTATIONS)
def test_the_rate_is_that_of_simmims_scheduler(training: str) -> None:
    """timm's CosineLRScheduler, set after each step: linear from 1e-6 over 10 epochs, a cosine over all steps."""
    recipe, per_epoch = CATALOG.run(training).training, 8
    total, warmup = recipe.epochs * per_epoch, 10 * per_epoch
    for step in (0, 1, 2, warmup, warmup + 1, total // 2, total - 1):
        tick = max(step - 1, 0)
        cosine = 1e-5 + 0.5 * (2e-4 - 1e-5) * (1 + math.cos(math.pi * tick / total))
        expected = 1e-6 + (2e-4 - 1e-6) * tick / warmup if tick < warmup else cosine
        found = learning_rate(step, recipe.schedule, base=2e-4, steps_per_epoch=per_epoch, epochs=recipe.epochs)
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("training", ADAPTATIONS)
def test_head_token_and_embedding_train_while_the_encoder_is_frozen(training: str) -> None:
    network = network_of(CATALOG.run(training))
    fixed = {id(parameter) for parameter in frozen_parameters(network, freeze_epochs=10)}
    free = {name for name, parameter in network.named_parameters() if id(parameter) not in fixed}
    embedding = {name for name, _ in network.named_parameters() if name.startswith(("stem.", "vssm_encoder.patch_em"))}
    assert free == {"mask_token", "head.weight", "head.bias"} | embedding


@pytest.mark.parity
def test_fine_tuning_freezes_as_the_released_trainers_do(parity_around) -> None:
    """Epochs 0 to 9 where there is a foundation model, none from scratch; what stays free while frozen."""
    trainers = parity_around("freeze_swin_umamba")["trainers"]
    for name, recipe in {"nnUNetTrainerSwinUMambaD": "", "nnUNetTrainerSwinUMambaDScratch": "-scratch"}.items():
        frozen = sum(trainers[name]["encoder_frozen_at_epoch"])
        for dataset in EPOCHS:
            assert CATALOG.papers[PAPER].protocols[dataset + recipe].training.freeze_epochs == frozen
    facts = parity_around("weights_vmamba")["networks"]["dagger_1ch"]["trainable_while_frozen"]
    network = network_of(CATALOG.run(f"{PAPER}/abdomen_mri/swin_umamba_d-adapted/seed0"))
    fixed = {id(parameter) for parameter in network.pretrained_parameters()}
    encoder = [(name, id(one)) for name, one in network.named_parameters() if name.startswith("vssm_encoder.")]
    assert [name for name, identity in encoder if identity not in fixed] == facts


@pytest.mark.parametrize("dataset", EPOCHS)
def test_medical_pretraining_begins_from_nothing_and_the_others_from_vmamba(dataset: str) -> None:
    released = {
        training.split("/")[2]: CATALOG.run(training).model.initialisation
        for training in ADAPTATIONS
        if CATALOG.run(training).dataset == dataset
    }
    assert released.pop("encoder-scratch") == "scratch"
    assert set(released.values()) == {"vmamba_tiny_imagenet", "vmamba_tiny_imagenet_dagger"}


def test_the_pretrained_decoder_is_vmambas_beside_the_adapted_encoder() -> None:
    config = CATALOG.run(f"{PAPER}/abdomen_mri/swin_umamba_d-pretrained_decoder/seed0")
    assert config.model.initialisation == "vmamba_tiny_imagenet_dagger"
    assert config.begins_from == CATALOG.run(f"{PAPER}/abdomen_mri/swin_umamba_d-adapted/seed0").begins_from


VARIANTS = {
    "swin_umamba/{}-sgd/unetr": lambda recipe: recipe.optimiser.name == "sgd" and recipe.epochs == 1000,
    "swin_umamba/{}-nnformer_default/nnformer": lambda recipe: recipe.optimiser.learning_rate == 1e-3,
    "swin_umamba/{}-four_scales/swin_umamba-imagenet": lambda recipe: is_halved(recipe.loss.deep_supervision),
    "swin_umamba_dagger/{}-four_scales/swin_umamba-adapted": lambda recipe: is_halved(recipe.loss.deep_supervision),
}


def is_halved(weights: tuple[float, ...]) -> bool:
    return weights == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15], abs=1e-7)


@pytest.mark.parametrize("dataset", EPOCHS)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_that_no_table_draws_are_runs_like_any_other(name: str, dataset: str) -> None:
    run = f"{name.format(dataset)}/seed0"
    assert VARIANTS[name](CATALOG.run(run).training)


@pytest.mark.parametrize("dataset", EPOCHS)
@pytest.mark.parametrize("recipe", ["segresnet", "unetr", "swinunetr"])
def test_the_baselines_rates_end_as_in_their_trainers(dataset: str, recipe: str) -> None:
    training = CATALOG.papers["swin_umamba"].protocols[f"{dataset}-{recipe}"].training
    last = learning_rate(
        10**9, training.schedule, base=training.optimiser.learning_rate, steps_per_epoch=250, epochs=1000
    )
    assert last == pytest.approx({"segresnet": 0.0, "unetr": 0.0, "swinunetr": 1e-6}[recipe], abs=1e-18)
    half = learning_rate(500 * 250, training.schedule, base=1.0, steps_per_epoch=250, epochs=1000)
    assert half == pytest.approx({"segresnet": 0.5**0.9, "unetr": 0.5, "swinunetr": 0.5}[recipe], abs=1e-6)


@pytest.mark.parametrize("paper", ["swin_umamba", PAPER])
def test_images_are_prepared_and_augmented_as_by_nnunetv2_2_1_1(paper: str) -> None:
    for name, protocol in CATALOG.papers[paper].protocols.items():
        preparation = protocol.preparation
        assert (preparation.crop, preparation.normalise, preparation.resampling.rules) == (
            "nonzero",
            "zscore_planned",
            "2.1",
        )
        assert preparation.spacing == ("planned_in_plane" if protocol.dataset == "abdomen_mri" else None)
        if not name.endswith("-adaptation"):
            (step,) = protocol.training.augmentation
            assert step.parameters == {"image_order": 3, "low_resolution_order": 3}
            assert protocol.inference.restore == "scores"


def test_the_adaptation_learns_at_demo_scale_without_frozen_parameters() -> None:
    """In the demo nothing is pre-trained, and a step of it changes every parameter."""
    config = CATALOG.run(ADAPTATIONS[0], "demo")
    assert config.model.initialisation == "scratch" and config.training.freeze_epochs == 0
    torch.manual_seed(0)
    network = build_for_run(config, in_channels=1, out_channels=1)
    masks = torch.zeros(1, 24, 24)
    masks[:, :12] = 1
    network(torch.rand(1, 1, 96, 96), masks).abs().mean().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in network.parameters())
