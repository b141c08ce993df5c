"""What a dataset asks of a reader before a run: paper_tables/datasets.yaml, also for datasets without a module yet."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from benchmark.catalog.settings import Settings
from benchmark.catalog.tables import read_yaml, validate
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError


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
    test_images: int | None = Field(None, description="Slices of the test set, where published")
    note: str = ""

    def training_images(self, spatial_dims: int, volumes: bool) -> int | None:
        """Samples of one epoch for a network of this dimension; None if the number of slices is unknown."""
        return self._images(self.training_cases, spatial_dims, volumes)

    def predicted_images(self, spatial_dims: int, volumes: bool) -> int | None:
        """Forward passes over the test set, windows apart."""
        return self.test_images or self._images(self.test_cases, spatial_dims, volumes)

    def _images(self, cases: int, spatial_dims: int, volumes: bool) -> int | None:
        if spatial_dims == 3 or not volumes:
            return cases
        return None if self.slices_per_case is None else cases * self.slices_per_case


PICTURES = {"endovis17", "neurips_cellseg"}  # single images; every other dataset has volumes


def load_sources(folder: str | Path) -> dict[str, Source]:
    """Dataset name → facts.

    Raises:
        InputError: the file is absent or an entry is wrong.
    """
    path = Path(folder) / "datasets.yaml"
    return {name: validate(Source, entry, where=f"{path}: {name}") for name, entry in read_yaml(path).items()}


def source_of(sources: dict[str, Source], name: str) -> Source:
    """Facts of one dataset; sizes and splits of its module, where that exists, come first.

    Raises:
        InputError: the file has no entry of that name.
    """
    if name not in sources:
        raise InputError(
            f"dataset {name!r} has no facts", where="datasets.yaml", remedy="add an entry with licence, account, cases"
        )
    if name not in available_datasets():
        return sources[name]
    dataset = get_dataset(name)
    size = sum(archive.bytes or 0 for archive in dataset.archives)
    update = {
        "licence": dataset.licence,
        "download_bytes": size or sources[name].download_bytes,
        "training_cases": dataset.split_counts.get("train", sources[name].training_cases),
        "test_cases": dataset.split_counts.get("test", sources[name].test_cases),
    }
    return sources[name].model_copy(update=update)
