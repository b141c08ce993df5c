"""The configuration of a run: what protocol, network and seed of its id say together, at a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.catalog.loading import PaperFolder
from benchmark.catalog.papers import NamedModel, Protocol
from benchmark.catalog.provenance import merge
from benchmark.catalog.reading import pick, validate
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.settings import RELEASED, RunConfig, Scale


class RunParts(NamedTuple):
    """What a run id names: <paper>/<protocol>/<model>/seed<k>."""

    folder: PaperFolder
    protocol: Protocol
    model: NamedModel
    seed: int


def parts_of_run(run: str, papers: Mapping[str, PaperFolder], *, where: str | Path) -> RunParts:
    """What a run id names.

    Args:
        where: the file that has the id, for the message.

    Raises:
        InputError: not a run id, or one that names an unknown paper, protocol or model.
    """
    paper, protocol, model, seed = (run.split("/") + [""] * 4)[:4]
    folder = pick(papers, paper, "paper", where)
    if not (seed.startswith("seed") and seed[4:].isdecimal()):
        raise InputError(f"not a run id: {run!r}", where=where, expected="<paper>/<protocol>/<model>/seed<k>")
    return RunParts(
        folder,
        pick(folder.protocols, protocol, f"protocol of {paper}", where),
        pick(folder.models, model, f"model of {paper}", where),
        int(seed[4:]),
    )


@dataclass(frozen=True)
class RunConfigurations:
    """The configurations of one paper's runs at one scale.

    Attributes:
        share: of the steps of every training at scale `pilot`.
    """

    folder: PaperFolder
    scale: Scale
    share: float

    def resolve(self, run: str, protocol: Protocol, model: NamedModel, seed: int) -> RunConfig:
        """The configuration of a run, whose id is of this paper.

        Raises:
            InputError: the protocol names what the paper does not have, or the settings do not go together.
        """
        where = f"{self.folder.folder}/protocols.yaml: {protocol.name}"
        trainer, settings = self._trainer(protocol, where), self._settings(protocol)
        resolved = {
            **settings,
            "run": run,
            "scale": self.scale,
            "trained_by": self._training(run, protocol.trained_by),
            "begins_from": self._beginnings(protocol, model, where) if trainer is protocol else (),
            "joint": [self._store(name, protocol, f"{where}: joint") for name in protocol.joint],
            **self._heads(protocol, trainer, where),
            "model": {**self._network(model), **settings.get("model", {})},
            "training": self._settings(trainer)["training"],
            "convention": protocol.convention,
            "seed": seed,
        }
        if self.scale == "demo":
            resolved["model"] |= {"initialisation": "scratch", "also": ()}  # released weights fit no narrowed network
        return validate(RunConfig, resolved, where=where)

    def _settings(self, protocol: Protocol) -> dict[str, Any]:
        """The settings of a protocol that a run takes over, as plain values."""
        parts = {"dataset", "labels", "preparation", "training", "inference"}
        settings = protocol.model_dump(mode="json", include=parts)
        if self.scale == "pilot":
            settings["training"] = protocol.training.shortened(self.share).model_dump(mode="json")
        return merge(settings, protocol.demo) if self.scale == "demo" else settings

    def _network(self, model: NamedModel) -> dict[str, Any]:
        return model.spec.model_dump(mode="json", exclude=None if self.scale == "demo" else {"demo"})

    def _trainer(self, protocol: Protocol, where: str) -> Protocol:
        """The protocol whose training gives the weights."""
        if protocol.trained_by in (None, RELEASED):
            return protocol
        kind = f"protocol of {self.folder.paper.paper}"
        return pick(self.folder.protocols, protocol.trained_by, kind, f"{where}: trained_by")

    def _training(self, run: str, trainer: str | None) -> str:
        """Id of the training whose weights a run uses, empty where that is the run's own.

        Nobody has released weights of the demo's narrowed networks: there, the run trains its own in their place.
        """
        if trainer is None or (trainer == RELEASED and self.scale == "demo"):
            return ""
        if trainer == RELEASED:
            return RELEASED
        paper, _, model, seed = run.split("/")
        return f"{paper}/{trainer}/{model}/{seed}"

    def _beginnings(self, protocol: Protocol, model: NamedModel, where: str) -> list[dict[str, str]]:
        """Trainings that a network begins from. Seeds of one row begin from one and the same."""
        paper, found = self.folder.paper.paper, []
        for part, other in model.begins_from.items():
            by = pick(protocol.pretraining, part, "part in `pretraining`", where)
            pick(self.folder.protocols, by, f"protocol of {paper}", f"{where}: pretraining: {part}")
            pick(self.folder.models, other, f"model of {paper}", f"{where}: begins_from: {part}")
            found.append({"part": part, "training": f"{paper}/{by}/{other}/seed0"})
        return found

    def _heads(self, protocol: Protocol, trainer: Protocol, where: str) -> dict[str, Any]:
        """Heads of the network of a joint training, and which of them is the protocol's: that of its dataset."""
        parts = [pick(self.folder.protocols, name, "protocol", f"{where}: joint") for name in trainer.joint]
        if not parts or trainer.training.objective != "segmentation":
            return {}
        datasets = [part.dataset for part in parts]
        labels = [self._settings(part)["labels"] or get_dataset(part.dataset).label_names for part in parts]
        heads = [len(names) + 1 for names in labels]
        if trainer is protocol:
            return {"heads": heads}
        if datasets.count(protocol.dataset) != 1:
            raise InputError(
                f"{trainer.name} has no head, or several, of {protocol.dataset}",
                where=f"{where}: trained_by",
                expected="a joint training over this dataset once",
                found=datasets,
            )
        return {"heads": heads, "head": datasets.index(protocol.dataset)}

    def _store(self, name: str, joint: Protocol, where: str) -> dict[str, Any]:
        """One of the stores that a joint training reads."""
        settings = self._settings(pick(self.folder.protocols, name, "protocol", where))
        patch = joint.training.patch if settings["preparation"]["pad_to_patch_multiple"] else None
        planes = settings["inference"]["slice_axis"] if len(joint.training.patch) == 2 else None
        parts = {key: settings[key] for key in ("dataset", "labels", "preparation")}
        return parts | {"patch": patch, "planes": planes}
