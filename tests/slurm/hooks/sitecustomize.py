"""On PYTHONPATH of the jobs under test: slows samples down, counts them, and breaks them as the plan says.

FAULTS_FOLDER holds plan.json, {run id: {"pause": seconds per sample, "nan_at" or "error_at": index, once, "hold_at":
index at which the training waits for a signal, or for the file <run>.struck}}, and gets one file of sample indices per
run. The program under test is not changed by a line.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from pathlib import Path


class Patch(importlib.abc.MetaPathFinder):
    """Calls `patch(module)` after one of these modules was imported."""

    def __init__(self, patches: dict) -> None:
        self.patches = patches

    def find_spec(self, name, path, target=None):
        if name not in self.patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            self.patches[name](module)

        spec.loader.exec_module = exec_module
        return spec


def faulty_samples(module) -> None:
    folder, run = Path(os.environ["FAULTS_FOLDER"]), sys.argv[2]
    plan = json.loads((folder / "plan.json").read_text()).get(run, {})
    marks = folder / run.replace("/", "-")
    original = module.PatchDataset.__getitem__

    def first_time(what: str) -> bool:
        try:
            (marks.with_suffix(f".{what}")).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def getitem(self, index):
        time.sleep(plan.get("pause", 0))
        with marks.with_suffix(".samples").open("a") as stream:
            stream.write(f"{index} {os.uname().nodename} {os.getpid()} {time.time():.3f}\n")
        while index >= plan.get("hold_at", index + 1) and not marks.with_suffix(".struck").exists():
            time.sleep(0.05)
        if index == plan.get("error_at") and first_time("error"):
            raise OSError("the disk shows its teeth")
        image, labels = original(self, index)
        if index == plan.get("nan_at") and first_time("nan"):
            image = image * float("nan")
        return image, labels

    module.PatchDataset.__getitem__ = getitem


def signals_let_go(module) -> None:
    struck = Path(os.environ["FAULTS_FOLDER"]) / f"{'-'.join(sys.argv[2:3]).replace('/', '-')}.struck"
    original = module.StopRequest._remember

    def remember(self, number, frame):
        struck.touch()
        original(self, number, frame)

    module.StopRequest._remember = remember


def quick_polls(module) -> None:
    # The plugin asks less and less often, up to every three minutes: right for a busy controller, slow for a test.
    interval = property(lambda self: 1, lambda self, value: None)
    module.common_settings.init_seconds_before_status_checks = 1
    module.Executor.next_seconds_between_status_checks = interval


if "FAULTS_FOLDER" in os.environ:
    patches = {
        "benchmark.data.sampling": faulty_samples,
        "benchmark.training.signals": signals_let_go,
        "snakemake_executor_plugin_slurm": quick_polls,
    }
    sys.meta_path.insert(0, Patch(patches))
