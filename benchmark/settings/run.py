"""Everything that decides the result of a run or a training, resolved to one scale."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from benchmark.files import value_digest
from benchmark.settings.base import RELEASED, Scale, Settings
from benchmark.settings.folds import whole_of
from benchmark.settings.inference import Inference
from benchmark.settings.preparation import Preparation
from benchmark.settings.training import Training


class ModelSpec(Settings):
    """A network and its options."""

    added: ClassVar[frozenset[str]] = frozenset({"also"})

    name: str = Field(description="Registered name: a module of benchmark/models")
    options: dict[str, Any] = Field(default_factory=dict)
    initialisation: str = Field("scratch", description="scratch, or a name of the weights registry")
    also: tuple[str, ...] = Field(
        (), description="More of that registry, loaded after it in this order: files for other parts, or laid over it"
    )
    demo: dict[str, Any] | None = Field(
        None, description="Options at demo scale, in place of the network's own demo options; ours, so without tags"
    )

    @model_validator(mode="after")
    def _begins_with_the_first_file(self) -> ModelSpec:
        if self.also and self.initialisation == "scratch":
            raise ValueError("`also` is loaded after `initialisation`, which is scratch: name the first file there")
        return self

    @property
    def released(self) -> tuple[str, ...]:
        """Names of all released files that it begins from, in the order of loading; none from scratch."""
        return () if self.initialisation == "scratch" else (self.initialisation, *self.also)


class Beginning(Settings):
    """Trained weights that another training begins from: an edge of the graph."""

    training: str = Field(description="Id of the training that gives the weights")
    part: str = Field(description="Which part of the network takes them, by the network's own name for it")


class PreparedData(Settings):
    """One prepared store, as a training or a run reads it."""

    dataset: str
    labels: tuple[str, ...] | None = None
    preparation: Preparation
    patch: tuple[int, ...] | None = Field(None, description="Training patch, where the preparation depends on it")
    planes: int | None = Field(
        None, description="Axis along which slices of volumes are stored one by one, for 2-D networks"
    )

    @property
    def id(self) -> str:
        """Name of the prepared store: equal for what is prepared alike."""
        return value_digest(
            [self.dataset, self.labels, self.preparation.model_dump(mode="json"), self.patch, self.planes]
        )


class RunConfig(Settings):
    """Everything that decides a run's result, resolved to one scale.

    A training is described by the same type: `run` is then its id. Where one training serves one run, both are equal.
    """

    added: ClassVar[frozenset[str]] = frozenset({"trained_by", "begins_from", "joint", "heads", "head"})

    run: str = Field(description="<paper>/<protocol>/<model>/seed<k>")
    scale: Scale
    dataset: str
    labels: tuple[str, ...] | None = Field(None, description="Restrict to these structures, numbered 1… in this order")
    trained_by: str = Field("", description="Id of the training whose weights these are; empty: the run's own")
    begins_from: tuple[Beginning, ...] = Field((), description="Trainings whose weights the network begins from")
    joint: tuple[PreparedData, ...] = Field((), description="Stores of a training over several; empty: the run's own")
    heads: tuple[int, ...] = Field(
        (), description="Classes of each store of a joint training, background included: one head for each; empty: one"
    )
    head: int | None = Field(None, description="Which of them the run labels with; null: all, in the training itself")
    model: ModelSpec
    preparation: Preparation
    training: Training
    inference: Inference
    convention: str = Field(description="Scoring convention")
    seed: int = Field(ge=0)

    @field_validator("run")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if len(value.split("/")) != 4:
            raise ValueError("a run id is <paper>/<protocol>/<model>/seed<k>")
        return value

    @model_validator(mode="after")
    def _scores_can_go_back(self) -> RunConfig:
        preparation = self.preparation
        if self.inference.restore == "scores" and (
            preparation.resampling is None
            or preparation.foreground_above is not None
            or preparation.pad_to_patch_multiple
            or self.inference.method in ("whole", "prompted")
        ):
            raise ValueError(
                "restore: scores needs preparation.resampling, no foreground_above or pad_to_patch_multiple, and "
                "another method than whole"
            )
        return self

    @model_validator(mode="after")
    def _has_pictures(self) -> RunConfig:
        stored = all(store.preparation.normalise == "unit" for store in self.stores)
        for name, how in (("training.sampling", self.training.sampling), ("inference", self.inference)):
            if how.bits is not None and not (stored or how.slice_range == "unit"):
                raise ValueError(
                    f"{name}.bits is of values from 0 to 1: preparation.normalise unit, or {name}.slice_range unit"
                )
        return self

    @property
    def training_id(self) -> str | None:
        """Id of the training whose weights the run uses; None where it uses released weights as they are."""
        return None if self.trained_by == RELEASED else self.trained_by or self.run

    @property
    def store(self) -> PreparedData:
        """What the run is predicted and scored on. Folds share a store that does not depend on who trains."""
        patch = self.training.patch if self.preparation.pad_to_patch_multiple else None
        planes = self.inference.slice_axis if len(self.training.patch) == 2 else None
        dataset = self.dataset if patch or self.preparation.planned else whole_of(self.dataset)
        return PreparedData(
            dataset=dataset, labels=self.labels, preparation=self.preparation, patch=patch, planes=planes
        )

    @property
    def stores(self) -> tuple[PreparedData, ...]:
        """What a training reads, in the order of the network's heads."""
        return self.joint or (self.store,)

    @property
    def fills_images(self) -> bool:
        """Whether it is a training on hidden parts of the images of one store, which can show what it makes of them."""
        masked = self.training.masked_images
        return masked is not None and not masked.normalise_patches and not self.joint

    @property
    def preparation_id(self) -> str:
        """Name of the prepared store this run reads: equal for runs that prepare alike."""
        return self.store.id

    @property
    def digest(self) -> str:
        """Configuration hash: recorded in checkpoints and in every score."""
        return value_digest(self.model_dump(mode="json"))
