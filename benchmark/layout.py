"""Where every stage writes: the one place that knows the paths under results/."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.settings import RunConfig, Scale

CONTROLS = ("oracle", "empty", "class_prior")  # predictions that need no network; scored beside every table
POINT_CONTROL = "point_disc"  # of networks that are asked by points: a disc around each
NETWORK_GRID = "network_grid"  # folder beside a run's predictions: the same as large as the network saw the images


@dataclass(frozen=True)
class Layout:
    """Paths of one scale, relative to the working directory (Snakemake's output root).

    Attributes:
        root: results, results/pilot or results/demo: two scales never share a file.
        predictions, scores: folders that stand in for this workflow's own, when it starts from them.
    """

    root: str
    predictions: str | None = None
    scores: str | None = None

    @classmethod
    def at(cls, scale: Scale, *, predictions: str | None = None, scores: str | None = None) -> Layout:
        return cls("results" if scale == "paper" else f"results/{scale}", predictions, scores)

    def source(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/source.json"

    def verified(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/verified.json"

    def split(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/split.json"

    def split_checked(self, dataset: str) -> str:
        return f"{self.root}/data/{dataset}/split_checked.json"

    def prepared(self, dataset: str, preparation: str) -> str:
        return f"{self.root}/data/{dataset}/prepared/{preparation}/prepared.json"

    def prepared_for(self, config: RunConfig) -> str:
        return self.prepared(config.dataset, config.preparation_id)

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
        return f"{self.predictions}/{run}" if self.predictions else f"{self.root}/runs/{run}/predicted.json"

    def predictions_of(self, run: str) -> str:
        """Folder <case>.nii.gz."""
        return f"{self.predictions}/{run}" if self.predictions else f"{self.root}/runs/{run}/predictions"

    def receptive_field(self, run: str) -> str:
        """Map [H, W]; its record has the suffix .json."""
        return f"{self.root}/runs/{run}/receptive_field.npy"

    def features(self, run: str) -> str:
        """Pictures of a network's features; their record has the suffix .json."""
        return f"{self.root}/runs/{run}/features.npz"

    def scored(self, run: str) -> str:
        return f"{self.scores or self.root + '/runs'}/{run}/scores.parquet"

    def scores_record(self, run: str) -> str:
        return f"{self.root}/runs/{run}/scores.json"

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
