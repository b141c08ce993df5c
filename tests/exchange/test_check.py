"""`retable check`: a good network of one's own passes, and each broken one fails in the line that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.catalog import load_catalog
from benchmark.cli import main
from benchmark.errors import EXIT_INPUT
from benchmark.own import VARIABLE

GOOD = """\
import torch
from torch import nn
from torch.nn import functional

from benchmark.models.registry import register


@register("{name}", demo={{"width": 16}}, spatial_dims=(2,){more})
class Network(nn.Module):
    def __init__(self, in_channels, out_channels, spatial_shape, width=32):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, out_channels, 1)
        {init}

    def forward(self, image):
        features = functional.leaky_relu(self.first(image))
        features = functional.leaky_relu(self.second(features))
        {forward}
        return self.last(features)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(VARIABLE, "")
    assert main(["new", "paper", "mine", "--in", str(tmp_path / "mine")]) == 0
    (tmp_path / "mine/networks").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def check(folder, capsys):
    """Check these words; returns exit code and the lines that failed, with what to do."""

    def call(*words: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        load_catalog.__globals__["_loaded"].cache_clear()
        code = main(["check", *words, "--papers", str(folder)])
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith(f"{sum(line.startswith(('ok', 'FAIL')) for line in lines)} checks, ")
        assert (code == 1) == any(line.startswith("FAIL") for line in lines)
        return code, [
            line + (lines[number + 1] if "what to do: " in lines[number + 1] else "")
            for number, line in enumerate(lines)
            if line.startswith("FAIL")
        ]

    return call


def write(folder: Path, name: str, *, init: str = "pass", forward: str = "pass", more: str = "", edit=("", "")) -> None:
    text = GOOD.format(name=name, init=init, forward=forward, more=more)
    assert edit[0] in text
    (folder / "networks" / f"{name}.py").write_text(text.replace(*edit))


@pytest.mark.real_data
def test_a_good_folder_passes(folder, check, real_data):
    write(folder, "good_net")
    new_dataset(folder, real_data)
    assert check() == (0, [])


def new_dataset(folder: Path, real_data) -> None:
    data = real_data("MSD_Task04_Hippocampus_subset")
    assert main(["new", "dataset", str(data), "--name", "hippo", "--in", str(folder)]) == 0


HALVED = "features = functional.interpolate(functional.avg_pool2d(features, 16), scale_factor=16)"


@pytest.mark.parametrize(
    ("name", "changes", "check_name", "words"),
    [
        ("dead", {"init": "self.dead = nn.Parameter(torch.zeros(3))"}, "gradients", ["dead", "unused_parameters"]),
        (
            "idle",
            {"init": "self.unused_parameters = ('first.*',)"},
            "gradients",
            ["`unused_parameters` names what is used: first.*"],
        ),
        (
            "small",
            {"forward": "features = features[..., ::2]"},
            "output",
            ["[2, 3, 64, 64] where [2, 3, 64, 128]", "as large as the image"],
        ),
        (
            "three",
            {"edit": ("width, out_channels, 1", "width, 3, 1")},
            "classes",
            ["3 classes where 5", "`out_channels` channels"],
        ),
        (
            "drawn",
            {"forward": "features = functional.dropout(features)"},
            "evaluation",
            ["the second time", "nn.Dropout"],
        ),
        ("mixed", {"forward": "features = features - features.mean(0)"}, "evaluation", ["others of its batch"]),
        (
            "forgetful",
            {"init": "self.scale = torch.rand(())", "forward": "features = features * self.scale"},
            "state dict",
            ["not in the state dict", "register_buffer"],
        ),
        ("blind", {"forward": "features = features * 1e-12"}, "learning", ["does not halve"]),
        ("sixteen", {"forward": HALVED}, "built for other sizes", ["sizes"]),
        ("sixteen_", {"forward": HALVED}, "other inputs", []),
        (
            "wide",
            {
                "init": "self.shift = nn.Parameter(torch.zeros(2_000_000))",
                "forward": "features = features + self.shift.mean()",
            },
            "demo size",
            ["2,000,", "demo={…}"],
        ),
        ("raises", {"forward": "features.no_such_thing"}, "output", ["AttributeError", "raises.py:20: "]),
        ("none", {"edit": ("return self.last(features)", "")}, "output", ["forward gives a NoneType"]),
        ("unbuilt", {"init": "raise ValueError('width')"}, "builds", ["unbuilt cannot be built: width"]),
        ("renamed", {"edit": ('"renamed"', '"other"')}, "registered", ['@register("renamed")']),
        ("unread", {"edit": ("import torch", "import nothing_of_that_name")}, "registered", ["nothing_of_that_name"]),
    ],
)
def test_each_fault_fails_in_its_line(name, changes, check_name, words, folder, check):
    write(folder, name, **changes)
    code, failed = check(name)
    (line,) = [line for line in failed if line.split(name)[1].removeprefix(" 2-D").strip().startswith(check_name)]
    assert code == 1 and all(word in line for word in words), line
    if check_name in ("gradients", "state dict", "learning", "classes", "demo size"):
        assert len(failed) == 1, failed


def test_a_network_that_declares_its_multiple_passes_and_holds_patches_to_it(folder, check):
    write(folder, "sixteen", forward=HALVED, more=", multiple_of=16")
    assert check("sixteen") == (0, [])
    (folder / "models.yaml").write_text("net:\n  model: sixteen\n  options: {}\n")
    (folder / "protocols.yaml").write_text(
        "pictures:\n  extends: swin_umamba/endovis17\n  training: {patch: [384, 632], loss: {deep_supervision: null}}\n"
    )
    (folder / "mine_table.yaml").write_text(
        "kind: table\nnumber: Table 1\ntitle: mine\nprotocol: pictures\nrows:\n  Net: {model: net}\ncolumns:\n"
        "  Params (M): {measure: parameters, unit: M, decimals: 2, better: lower}\n"
    )
    _, (line,) = check()
    assert "mine/pictures/net/seed0" in line and "multiples of 16" in line and "(384, 632)" in line
    protocols = folder / "protocols.yaml"
    protocols.write_text(protocols.read_text().replace("632], loss: {deep_supervision: null}", "640]"))
    _, (line,) = check()
    assert "gives 1 outputs, the loss of its protocol has weights for" in line


def test_an_augmentation_that_there_is_not_is_found_before_anything_runs(folder, check):
    protocols = folder / "protocols.yaml"
    written = protocols.read_text()
    for step, words in (
        ("{name: flipp}", "unknown augmentation 'flipp'"),
        ("{name: flip, parameters: {p: 1}}", "'flip'"),
    ):
        protocols.write_text(f"{written}  training: {{augmentation: [{step}]}}\n")
        _, (line,) = check()
        assert " run " in line and words in line


def test_a_yaml_that_is_wrong_and_networks_that_do_not_exist(folder, check, capsys, monkeypatch):
    protocols = folder / "protocols.yaml"
    protocols.write_text(protocols.read_text() + "  training: {bacth: 2}\n")
    _, (line,) = check()
    assert "files" in line and "bacth" in line and "batch" in line
    assert main(["check", "no_such_net", "--papers", str(folder)]) == EXIT_INPUT
    monkeypatch.setenv(VARIABLE, "")
    assert main(["check"]) == EXIT_INPUT
    assert "unknown network 'no_such_net'" in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("label_names: [Anterior, Posterior]", "label_names: [Anterior, Anterior]", "twice: ['Anterior']"),
        ("label_names: [Anterior, Posterior]", "label_names: [Anterior]", "unknown label value"),
        ("folds: 5", "folds: 1", "no case to train"),
        ("licence: CC-BY-SA 4.0", "licence: ''", "no title or licence"),
    ],
)
def test_a_data_set_with_wrong_facts_fails(right, wrong, words, folder, check, real_data):
    new_dataset(folder, real_data)
    facts = folder / "datasets/hippo.yaml"
    assert right in facts.read_text()
    facts.write_text(facts.read_text().replace(right, wrong))
    assert any(words in line for line in check()[1])
