"""The formulations that `speed/networks.py` times side by side compute the same function."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from benchmark.models import build, full_resolution
from benchmark.models.registry import model_entry

SCRIPT = Path(__file__).resolve().parents[2] / "speed" / "networks.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("benchmark_networks", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


NETWORKS = ["nnformer", "phtrans", "unest", "universal_model", "dodnet", "repuxnet", "swin_smt"]


@pytest.mark.parametrize("network", NETWORKS)
def test_released_and_own_formulation_agree(network, script):
    image, outputs = torch.randn(1, 1, 32, 32, 64, generator=torch.Generator().manual_seed(0)), []
    assert len(script.FORMS[network]) == 2
    for form in script.FORMS[network]:
        torch.manual_seed(0)
        options = model_entry(network).demo | script.FORM_OPTIONS.get((network, form), {})
        model = build(network, in_channels=1, out_channels=3, spatial_shape=(32, 32, 64), **options).eval()
        with torch.no_grad(), script.formulation(network, form):
            outputs.append(full_resolution(model(image)))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)


def test_every_network_with_forms_is_tested_and_in_3d(script):
    assert set(script.FORMS) == set(NETWORKS) and set(NETWORKS) <= set(script.volumetric())


def test_one_cell_is_measured_in_a_process_of_its_own(script, monkeypatch):
    """A process that has freed memory before shows no growth for a small network."""
    monkeypatch.setattr(script.sys, "argv", ["networks.py", "--size", "32", "--repeats", "1"])
    cell = script.run_cell("mednext", "ours", limit=300)
    assert cell["parameters"] == 102_736 and cell["bytes"] > 0 and cell["forward"] > 0
