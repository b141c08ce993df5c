"""Sheets of masked images: what is measured and shown, and that an adapted encoder does fill in real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.catalog import load_catalog
from benchmark.data.masked_images import MaskedImageDataset
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.inference.reconstruct import GAP, HIDDEN, Reconstructed, reconstruct, reconstruct_cases, sheet, write
from benchmark.models.registry import build_for_run
from benchmark.settings import RunConfig
from benchmark.training.objectives import make_objective
from benchmark.training.optimisers import make_optimiser
from benchmark.training.schedules import learning_rate

RUN = "swin_umamba_dagger/abdomen_mri-adaptation/encoder-scratch/seed0"  # one channel; its demo recipe is what trains


class Constant(nn.Module):
    """Fills everything with one value."""

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        return torch.full_like(images, 2.0)


def test_errors_are_those_of_the_hidden_pixels() -> None:
    """2 × 2 tokens of one pixel; by hand: hidden 0 and 4, visible 1 and 3 with mean 2; then hidden 8 beside 0, 0, 3."""
    images = torch.tensor([[[[0.0, 1.0], [3.0, 4.0]]], [[[0.0, 0.0], [3.0, 8.0]]]])
    masks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])
    found = reconstruct(Constant(), images, masks)
    assert found.errors.tolist() == [2.0, 6.0] and found.guesses.tolist() == [2.0, 7.0]
    assert torch.equal(found.hidden[:, 0], masks > 0)
    for wrong in (torch.zeros(2, 2, 2), torch.ones(2, 2, 2)):
        with pytest.raises(InputError, match="hidden whole, or not at all"):
            reconstruct(Constant(), images, wrong)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_has_the_image_what_was_seen_and_what_was_made_of_it(tmp_path: Path, channels: int) -> None:
    images = torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 2, 2)
    masks[:, 0, 0] = 1
    found = reconstruct(Constant(), images, masks)
    write(found, tmp_path / "sheet.png", {"run": "x"})
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert np.array_equal(pixels, sheet(found)) and pixels.shape == (16 + GAP, 24 + 2 * GAP, 3)
    original, masked, filled = (pixels[:8, start : start + 8] for start in (0, 8 + GAP, 16 + 2 * GAP))
    assert (masked[:4, :4] == HIDDEN).all() and (filled[:4, :4] == 255).all()
    for shown in (masked, filled):
        assert np.array_equal(shown[4:], original[4:]) and np.array_equal(shown[:, 4:], original[:, 4:])
    assert np.array_equal(sheet(found, turned=True)[:8, :8], original.swapaxes(0, 1))
    record = read_json(tmp_path / "sheet.json")
    assert record["run"] == "x" and len(record["errors"]) == 2
    assert record["mean_absolute_error"] == pytest.approx(float(found.errors.mean()))


def test_only_trainings_on_masked_images_reconstruct(tmp_path: Path) -> None:
    config = load_catalog().run("swin_umamba_dagger/abdomen_mri/swin_umamba_d-adapted/seed0", "demo")
    with pytest.raises(InputError, match="masked_images"):
        reconstruct_cases(config, Constant(), PreparedStore.create(tmp_path, {}, label_names=["a"]), [])


@pytest.fixture(scope="module")
def slices(real_data, tmp_path_factory) -> tuple[PreparedStore, list[str], list[str]]:
    """Slices of real cardiac MR, a scan of each patient, z-scored: a store, and the cases of two thirds and of the
    other patients."""
    dataset, cases = get_dataset("acdc"), {}
    scans = {case.id[:10]: case for case in dataset.find_cases(real_data("ACDC") / "database")}
    for case in scans.values():
        image, _ = dataset.load_image(case)
        image = (image - image.mean()) / image.std()
        cases[case.id] = (image.astype(np.float32), np.zeros(image.shape[1:], np.uint8), {})
    store = PreparedStore.create(tmp_path_factory.mktemp("acdc"), cases, label_names=["none"], planes=2)
    patients = sorted(cases)
    return store, patients[: 2 * len(cases) // 3], patients[2 * len(cases) // 3 :]


@pytest.fixture(scope="module", params=["neurips_cellseg", "endovis17"])
def pictures(request, real_data, tmp_path_factory) -> tuple[PreparedStore, list[str], list[str]]:
    """Real micrographs of cells, or frames of an endoscopy, z-scored: a store, and the cases of both parts."""
    folders = {"neurips_cellseg": "DSB2018_CellSegLayout", "endovis17": "Endoscopy_cholec_video01"}
    dataset, cases, parts = get_dataset(request.param), {}, {"train": [], "test": []}
    for case in dataset.find_cases(real_data(folders[request.param])):
        image, _ = dataset.load_image(case)
        image = image.astype(np.float32)
        image = (image - image.mean(axis=(1, 2), keepdims=True)) / image.std(axis=(1, 2), keepdims=True).clip(1e-6)
        cases[case.id] = (image, np.zeros(image.shape[1:], np.uint8), {})
        parts[case.split].append(case.id)
    folder = tmp_path_factory.mktemp(request.param)
    store = PreparedStore.create(folder, cases, label_names=["none"], channels=("R", "G", "B"))
    return store, parts["train"], parts["test"]


def adaptation(steps: int) -> RunConfig:
    """The demo's recipe in so many steps."""
    config = load_catalog().run(RUN, "demo")
    training = config.training
    training = training.model_copy(
        update={
            "epochs": 1,
            "iterations_per_epoch": steps,
            "optimiser": training.optimiser.model_copy(update={"learning_rate": 3e-3}),
            "schedule": training.schedule.model_copy(update={"warmup_epochs": 0.05, "minimum": 1e-4}),
        }
    )
    return config.model_copy(update={"training": training})


def adapt(config: RunConfig, samples: MaskedImageDataset, channels: int = 1) -> nn.Module:
    torch.manual_seed(config.seed)
    training, steps = config.training, config.training.iterations_per_epoch
    network = build_for_run(config, in_channels=channels, out_channels=2).train()
    optimiser, objective = make_optimiser(network, training.optimiser), make_objective(training, (2,))
    for step in range(steps):
        rate = learning_rate(
            step, training.schedule, base=training.optimiser.learning_rate, steps_per_epoch=steps, epochs=1
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = [samples[step * training.batch + index] for index in range(training.batch)]
        optimiser.zero_grad()
        objective(network, *map(torch.stack, zip(*batch, strict=True)), epoch=0).backward()
        nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
        optimiser.step()
    return network


@pytest.mark.real_data
def test_an_adapted_encoder_fills_in_slices_of_patients_that_it_never_saw(slices) -> None:
    """Better than the mean of what is visible, and than its median, the best constant for this error."""
    store, seen, unseen = slices
    config = adaptation(steps=120)
    samples = MaskedImageDataset(PatchDataset(store, seen, config.training, 0), config.training.masked_images)
    found = reconstruct_cases(config, adapt(config, samples), store, unseen, count=24)
    assert float(found.errors.mean()) < 0.9 * float(found.guesses.mean())
    assert float(found.errors.mean()) < 0.95 * float(medians(found).mean())
    assert int((found.errors < found.guesses).sum()) >= 20  # of 24
    untrained = reconstruct_cases(config, build_for_run(config, in_channels=1, out_channels=2), store, unseen, count=24)
    assert float(untrained.errors.mean()) > float(medians(found).mean())


@pytest.mark.real_data
def test_an_adapted_encoder_fills_in_cells_and_frames_that_it_never_saw(pictures) -> None:
    """Better than the mean of what is visible."""
    store, seen, unseen = pictures
    config = adaptation(steps=80)
    samples = MaskedImageDataset(PatchDataset(store, seen, config.training, 0), config.training.masked_images)
    found = reconstruct_cases(config, adapt(config, samples, channels=3), store, unseen, count=len(unseen))
    assert float(found.errors.mean()) < 0.95 * float(found.guesses.mean())


def medians(found: Reconstructed) -> Tensor:
    """[B], mean absolute error of the median of the visible pixels."""
    errors = []
    for image, hidden in zip(found.images[:, 0], found.hidden[:, 0], strict=True):
        errors.append((image[hidden] - image[~hidden].median()).abs().mean())
    return torch.stack(errors)
