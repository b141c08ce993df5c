"""`retable check`: a folder of one's own, held to what holds for every paper, network and data set of this repository.

One line per check: what was measured, or what is wrong and what to do.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmark.catalog.catalog import Catalog, load_catalog
from benchmark.catalog.reading import pick
from benchmark.cost.meta import build_on_meta
from benchmark.cost.parameters import count_parameters
from benchmark.cost.planner import Planner
from benchmark.data.augmentation import build_steps
from benchmark.data.verify import check_case
from benchmark.datasets import Case, get_dataset
from benchmark.errors import InputError
from benchmark.models.checks import CHECKS, CheckFailed, Subject
from benchmark.models.registry import available_models, build_for_run, model_entry
from benchmark.own import own_files, own_folders
from benchmark.settings import Loss, RunConfig

FAILED = 1  # exit code
Check = Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """What a check of something found: what was measured, or the problem and what to do about it."""

    subject: str
    check: str
    passed: bool
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.passed else 'FAIL'}  {self.subject:<24} {self.check:<22} {self.detail}"
        return line + (f"\n{'what to do: ':>55}{self.remedy}" if self.remedy else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", nargs="*", help="only these networks; default: all that --papers hold")


def main(arguments: argparse.Namespace) -> int:
    """Returns 1 where a check fails.

    Raises:
        InputError: there is nothing to check, or no network of such a name.
    """
    for name in arguments.network:
        pick(dict.fromkeys(available_models()), name, "network", None)
    if not arguments.network and not own_folders():
        raise InputError(
            "there is nothing to check",
            expected="--papers DIR for a folder of one's own, or names of networks",
            remedy="make a folder with: retable new paper NAME",
        )
    failed, done = 0, 0
    for finding in findings(arguments.network):
        print(finding, flush=True)
        failed, done = failed + (not finding.passed), done + 1
    print(f"{done} checks, {failed} failed" if failed else f"{done} checks, all passed")
    return FAILED if failed else 0


def findings(networks: list[str]) -> Iterator[Finding]:
    """Of these networks; of none: of all networks, data sets, protocols and runs of the folders of one's own."""
    for name in networks or own_files("networks", ".py"):
        yield from check_network(name)
    if networks:
        return
    for name in own_files("datasets", ".yaml"):
        yield from check_dataset(name)
    yield from check_papers()


def check_network(name: str) -> Iterator[Finding]:
    """Every check of `benchmark.models.checks`, in every dimension that the network supports."""
    found = _finding(name, "registered", lambda: f"for {_dimensions(model_entry(name).spatial_dims)}")
    yield found
    if not found.passed:
        return
    for dimensions in model_entry(name).spatial_dims:
        subject = Subject(name, dimensions)
        built = _finding(f"{name} {dimensions}-D", "builds", partial(_built, subject))
        yield built
        if built.passed:
            for check, function in CHECKS.items():
                yield _finding(f"{name} {dimensions}-D", check, partial(function, subject))


def _dimensions(dimensions: tuple[int, ...]) -> str:
    return " and ".join(f"{number}-D" for number in dimensions)


def _built(subject: Subject) -> str:
    return f"{type(subject.network).__name__} with its demo options"


def check_dataset(name: str) -> Iterator[Finding]:
    """Its facts; of its folder, that it has cases to learn from and to test on, and of each the first."""
    found = _finding(name, "facts", lambda: _facts(name))
    yield found
    if found.passed and get_dataset(name).folder:
        yield _finding(name, "cases", lambda: _cases(name))


def _facts(name: str) -> str:
    dataset = get_dataset(name)
    problem, remedy = dataset_problem(name)
    if problem:
        raise CheckFailed(problem, remedy)
    return f"{dataset.spatial_dims}-D, {len(dataset.channels)} channels, {len(dataset.label_names)} structures"


def dataset_problem(name: str) -> tuple[str, str]:
    """What is wrong with a data set's facts, and what to do; two empty words where nothing is."""
    dataset = get_dataset(name)
    twice = sorted({label for label in dataset.label_names if dataset.label_names.count(label) > 1})
    unknown = {label for names in dataset.groups.values() for label in names} - set(dataset.label_names)
    if dataset.name != name:
        return f"it calls itself {dataset.name}", "give it the name of its file"
    if dataset.spatial_dims not in (2, 3) or not dataset.channels:
        return "no 2-D or 3-D images with a channel", "set spatial_dims and channels"
    if not 0 < len(dataset.label_names) <= 255 or twice:
        return f"{len(dataset.label_names)} structures, twice: {twice}", "name 1 to 255 structures, each once"
    if unknown or not all(dataset.groups.values()):
        return f"groups name unknown structures {sorted(unknown)}, or none", "spell them as in label_names"
    if not dataset.title or not dataset.licence:
        return "no title or licence", "say under which terms the data can be had, or that nobody states them"
    return "", ""


def _cases(name: str) -> str:
    dataset = get_dataset(name)
    cases = dataset.find_cases(Path(dataset.folder))
    first: dict[str | None, Case] = {}
    for case in cases:
        first.setdefault(case.split, case)
    if missing := [part for part in ("train", "test") if part not in first]:
        raise CheckFailed(
            f"no case to {' or to '.join(missing)} among {len(cases)}", "see fold, folds and splits_file in its yaml"
        )
    for case in (first["train"], first["test"]):
        if faults := check_case(name, case)[2]:
            fault = faults[0]
            raise CheckFailed(
                f"{case.id}: {fault.file}: {fault.problem}: expected {fault.expected}, found {fault.found}",
                "correct or remove the case; the workflow's stage verify lists the faults of all cases",
            )
    return f"{len(cases)}; the first to train and the first to test are whole"


def check_papers() -> Iterator[Finding]:
    """The files of every folder of one's own, and every run that their rows need."""
    names = {folder.name for folder in own_folders()}
    label = ", ".join(sorted(names))
    found = _finding(label, "files", lambda: _files(load_catalog(), names))
    yield found
    if not found.passed:
        return
    catalog = load_catalog()
    for run in own_runs(catalog, names):
        reason = catalog.made_elsewhere(run)
        yield Finding(run, "run", True, reason) if reason else _finding(run, "run", partial(_run, catalog, run))


def _files(catalog: Catalog, names: set[str]) -> str:
    papers = [catalog.papers[name] for name in names if name in catalog.papers]
    counts = {
        "protocols": sum(len(paper.protocols) for paper in papers),
        "models": sum(len(paper.models) for paper in papers),
        "targets": sum(len(paper.targets) for paper in papers),
        "targets extended": sum(len(paper.extensions) for paper in papers),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def own_runs(catalog: Catalog, papers: set[str]) -> list[str]:
    """Runs of the rows of these papers, in their own targets and in those that they extend."""
    runs = (run for target in catalog.targets.values() for run in catalog.runs(target))
    return [run for run in dict.fromkeys(runs) if run.split("/")[0] in papers]


def _run(catalog: Catalog, run: str) -> str:
    """It is planned and built at paper scale, with its augmentation; a network of one's own also answers a batch as the
    loss wants."""
    planned = Planner(catalog, "paper").plan(run)
    config = catalog.training(run) or catalog.run(run)
    count = count_parameters(build_on_meta(_network_of, config)).parameters
    own = config.model.name in own_files("networks", ".py")
    if own and config.training.objective == "segmentation" and not config.heads:
        _check_outputs(catalog.run(config.run, "demo"), config.training.loss)
    build_steps(config.training.augmentation, patch=config.training.patch)
    steps = f"{planned.budget.steps:,} steps" if planned.budget else "steps unknown before the data are there"
    return f"{count:,} parameters, {steps}"


def _network_of(config: RunConfig) -> nn.Module:
    dataset = get_dataset(config.dataset)
    labels = config.labels or dataset.label_names
    return build_for_run(config, in_channels=len(dataset.channels), out_channels=len(labels) + 1)


def _check_outputs(demo: RunConfig, loss: Loss) -> None:
    """By the network of the demo, which is small, and the loss of the paper scale."""
    training = demo.training.model_copy(update={"loss": loss})
    network = _network_of(demo.model_copy(update={"training": training})).train()
    image = torch.rand(2, len(get_dataset(demo.dataset).channels), *training.patch)
    with torch.no_grad():
        output = network(image)
    found = len(output) if isinstance(output, (list, tuple)) else 1
    expected = 2 if loss.rising else len(loss.deep_supervision or (1,))
    if found != expected:
        raise CheckFailed(
            f"in training the network gives {found} outputs, the loss of its protocol has weights for {expected}",
            "give as many logits, full resolution first, or write a protocol whose loss has as many weights",
        )


def _finding(subject: str, check: str, function: Check) -> Finding:
    """Whatever a file of one's own raises is what the check found."""
    try:
        return Finding(subject, check, True, function())
    except CheckFailed as error:
        return Finding(subject, check, False, error.problem, error.remedy)
    except InputError as error:
        first, *rest = str(error).splitlines()
        return Finding(subject, check, False, first + "".join(f"; {line.strip()}" for line in rest))
    except Exception as error:
        return Finding(subject, check, False, f"{type(error).__name__}: {error}", _place(error))


def _place(error: Exception) -> str:
    """The innermost line of a file of one's own that an error came from; else where to see all of it."""
    files = (*own_files("networks", ".py").values(), *own_files("datasets", ".py").values())
    own = {str(path) for path in files}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    if frames:
        return f"look at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"
    print("".join(traceback.format_exception(error)), file=sys.stderr)
    return "see the traceback above"
