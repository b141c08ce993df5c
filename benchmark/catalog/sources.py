"""What a dataset asks of a reader before a run: paper_tables/datasets.yaml, also for datasets without a module yet."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from benchmark.catalog.reading import read_yaml, validate
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError
from benchmark.own import own_files
from benchmark.settings import Settings, Training


class Source(Settings):
    """Facts of one dataset; None where no source tells."""

    title: str
    source: str = Field(description="Where it is published")
    licence: str
    account: str = Field(description="Account or agreement needed, or 'none'")
    archive: str = Field(description="Main file; datasets that share it are downloaded once")
    download_bytes: int | None = None
    training_cases: int
    test_cases: int
    slices_per_case: int | None = Field(None, description="About so many slices a volume, for networks of slices")
    labelled_slices_per_case: int | None = Field(None, description="Of these, about so many with any label")
    test_images: int | None = Field(None, description="Slices of the test set, where published")
    note: str = ""

    def training_samples(self, training: Training, *, volumes: bool) -> int | None:
        """What one epoch of a recipe is made of: cases or slices; None if the number of slices is unknown."""
        if training.iterations_per_epoch or not training.counts_slices(volumes):
            return self.training_cases
        labelled = training.sampling.slices == "foreground"
        slices = self.labelled_slices_per_case if labelled else self.slices_per_case
        return None if slices is None else self.training_cases * slices

    def predicted_images(self, spatial_dims: int, volumes: bool) -> int | None:
        """Forward passes over the test set, windows apart; None if the number of slices is unknown."""
        if self.test_images or spatial_dims == 3 or not volumes:
            return self.test_images or self.test_cases
        return None if self.slices_per_case is None else self.test_cases * self.slices_per_case


def has_volumes(dataset: str) -> bool:
    """Whether its images are volumes, which 2-D networks see slice by slice, and not single pictures."""
    return get_dataset(dataset).spatial_dims == 3


def load_sources(folder: str | Path) -> dict[str, Source]:
    """Dataset name → facts.

    Raises:
        InputError: the file is absent or an entry is wrong.
    """
    path = Path(folder) / "datasets.yaml"
    return {name: validate(Source, entry, where=f"{path}: {name}") for name, entry in read_yaml(path).items()}


def source_of(sources: dict[str, Source], name: str) -> Source:
    """Facts of one dataset; sizes and splits of its module, where that exists, come first.

    One of one's own needs no entry: its cases are counted in its folder.

    Raises:
        InputError: the file has no entry of that name, or the folder of one's own has no such cases.
    """
    if name in own_files("datasets", ".yaml"):
        return _own_source(name)
    if name not in sources:
        raise InputError(
            f"dataset {name!r} has no facts", where="datasets.yaml", remedy="add an entry with licence, account, cases"
        )
    if name not in available_datasets():
        return sources[name]
    dataset = get_dataset(name)
    update = {
        "licence": dataset.licence,
        "download_bytes": dataset.download_bytes or sources[name].download_bytes,
        "training_cases": dataset.split_counts.get("train", sources[name].training_cases),
        "test_cases": dataset.split_counts.get("test", sources[name].test_cases),
    }
    return sources[name].model_copy(update=update)


def _own_source(name: str) -> Source:
    dataset = get_dataset(name)
    parts = [case.split for case in dataset.find_cases(Path(dataset.folder))] if dataset.folder else []
    return Source(
        title=dataset.title,
        source=dataset.homepage or dataset.folder,
        licence=dataset.licence,
        account="none",
        archive=dataset.folder,
        training_cases=parts.count("train") or dataset.split_counts.get("train", 0),
        test_cases=parts.count("test") or dataset.split_counts.get("test", 0),
    )
