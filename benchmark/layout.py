"""Where every stage writes: the one place that knows the paths under results/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.settings import RunConfig, Scale
from benchmark.settings.folds import whole_of

CONTROLS = ("oracle", "empty", "class_prior")  # predictions that need no network; scored beside every table
POINT_CONTROL = "point_disc"  # of networks that are asked by points: a disc around each
NETWORK_GRID = "network_grid"  # folder beside a run's predictions: the same as large as the network saw the images


@dataclass(frozen=True)
class Layout:
    """Paths of one scale, relative to the working directory (Snakemake's output root).

    Attributes:
        root: results, results/pilot or results/demo: two scales never share a file.
        predictions: run → folder of label maps made elsewhere, which stand in for this workflow's own.
        scores: run → scores.parquet made elsewhere. An empty path, of either: nothing was handed in for a run that is
            not to be trained here.
    """

    root: str
    predictions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(
        cls, scale: Scale, *, predictions: Mapping[str, str] | None = None, scores: Mapping[str, str] | None = None
    ) -> Layout:
        return cls("results" if scale == "paper" else f"results/{scale}", predictions or {}, scores or {})

    # Results made elsewhere

    def is_made_here(self, run: str) -> bool:
        """Whether a run is trained and predicted by this workflow."""
        return run not in self.predictions and run not in self.scores

    def absent(self, run: str) -> str:
        """Why there are no scores of a run that is made elsewhere, as a table prints it; empty where there are, or can
        be, and for all other runs."""
        if run not in self.scores:
            return self.no_predictions(run)
        path = self.scores[run]
        return "" if path and Path(path).is_file() else f"no scores in {path}" if path else "no scores handed in"

    def no_predictions(self, run: str) -> str:
        """Why a run that is made elsewhere has no label maps; empty where it has, and for all other runs."""
        if run not in self.predictions:
            return "only scores handed in" if run in self.scores else ""
        path = self.predictions[run]
        if path and Path(path).is_dir() and any(Path(path).iterdir()):
            return ""
        return f"no predictions in {path}" if path else "no predictions handed in"

    # Stages

    def source(self, dataset: str) -> str:
        return f"{self.root}/data/{whole_of(dataset)}/source.json"

    def verified(self, dataset: str) -> str:
        return f"{self.root}/data/{whole_of(dataset)}/verified.json"

    def split(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/split.json"

    def split_checked(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/split_checked.json"

    def prepared(self, dataset: str, preparation: str) -> str:
        return f"{self.root}/data/{dataset}/prepared/{preparation}/prepared.json"

    def prepared_for(self, config: RunConfig) -> str:
        return self.prepared(config.store.dataset, config.preparation_id)

    def prompts_for(self, config: RunConfig) -> str:
        """Points of the cases that a run predicts, for networks asked by points: one file for all of a store.

        Its name says which kind of points; runs that predict other parts of a split differ in their store or rule.
        """
        return f"{self.root}/data/{config.dataset}/prompts/{config.preparation_id}-{config.inference.point}.json"

    def weights(self, name: str) -> str:
        """Record of a released file of weights that is at hand."""
        return f"{self.root}/weights/{name}.json"

    def trained(self, training: str) -> str:
        """Record of a finished training; its folder is that of the run of the same id, where there is one."""
        return f"{self.root}/runs/{training}/trained.json"

    def predicted(self, run: str) -> str:
        """File whose presence says that all cases are predicted; somebody else's predictions are just a folder."""
        return self.predictions.get(run, f"{self.root}/runs/{run}/predicted.json")

    def predictions_of(self, run: str) -> str:
        """Folder <case>.nii.gz; somebody else's may hold other formats of label maps."""
        return self.predictions.get(run, f"{self.root}/runs/{run}/predictions")

    def receptive_field(self, run: str) -> str:
        """Map [H, W]; its record has the suffix .json."""
        return f"{self.root}/runs/{run}/receptive_field.npy"

    def features(self, run: str) -> str:
        """Pictures of a network's features; their record has the suffix .json."""
        return f"{self.root}/runs/{run}/features.npz"

    def reconstruction(self, training: str) -> str:
        """Sheet of images that a training on masked images fills in; its record has the suffix .json."""
        return f"{self.root}/runs/{training}/reconstruction.png"

    def scored(self, run: str) -> str:
        return self.scores.get(run, f"{self.root}/runs/{run}/scores.parquet")

    def scores_record(self, run: str) -> str:
        return f"{self.root}/runs/{run}/scores.json"

    def case_pictures(self, run: str) -> str:
        """Record of the pictures of a run's cases, which lie in the folder of the same name."""
        return f"{self.root}/runs/{run}/cases.json"

    def controls_of(self, paper: str, protocol: str) -> str:
        """Folder <control>/scores.parquet."""
        return f"{self.root}/controls/{paper}/{protocol}"

    def controls_record(self, paper: str, protocol: str) -> str:
        return f"{self.controls_of(paper, protocol)}/controls.json"

    def point_control_record(self, paper: str, protocol: str) -> str:
        return f"{self.controls_of(paper, protocol)}/{POINT_CONTROL}.json"

    def control(self, paper: str, protocol: str, control: str) -> str:
        return f"{self.controls_of(paper, protocol)}/{control}/scores.parquet"

    def cost(self, target: str) -> str:
        return f"{self.root}/cost/{target}.csv"

    def latency(self, target: str) -> str:
        """Times of one scan by the networks of a target, measured on this machine's GPU."""
        return f"{self.root}/latency/{target}.csv"

    def made(self, target: str) -> str:
        """Record of what a table, a figure or a page was made from."""
        return f"{self.root}/made/{target}.json"

    def table(self, target: str) -> list[str]:
        return [f"{self.root}/{target}{suffix}" for suffix in (".csv", ".compare.csv", ".md")]

    def figure(self, target: str) -> list[str]:
        return [f"{self.root}/{target}{suffix}" for suffix in (".svg", ".png", ".pdf")]

    def page(self, name: str) -> list[str]:
        return [f"{self.root}/{name}{suffix}" for suffix in (".csv", ".md")]

    def index(self) -> str:
        """The interactive page."""
        return f"{self.root}/index.html"

    def published_figure(self, target: str) -> str:
        return f"{self.root}/published/{target}.svg"

    def training_curves(self, target: str) -> str:
        return f"{self.root}/training/{target}.svg"
