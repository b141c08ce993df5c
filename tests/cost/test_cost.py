"""`cost`: parameters of the networks that exist, rows that cannot be counted, the file's form."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
from torch import nn

from benchmark.catalog.catalog import load_catalog
from benchmark.cost import cost
from benchmark.cost.cost import RunCost, cost_of, count_target, rows_of_target, write_costs
from benchmark.cost.parameters import count_parameters
from benchmark.errors import InputError

RUN = "swin_smt/totalseg/{}/seed0"


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("model", "parameters", "multiply_adds"),
    [  # reference/models/swinunetr.json and swin_smt.json: parameters, and GMACs at 128³
        ("swin_unetr-b-v1", 62_192_392, 774.462),
        ("swin_smt-n4", 83_628_616, 1475.079),
        ("swin_smt-n32", 170_783_560, 1413.926),
    ],
)
def test_networks_at_paper_scale(model, parameters, multiply_adds):
    counted = cost_of(load_catalog(), RUN.format(model))
    assert counted.input == "1x1x128x128x128"
    assert counted.parameters == counted.trainable == parameters
    assert round(counted.multiply_adds / 1e9, 3) == multiply_adds
    assert counted.flops_complete > 2 * counted.multiply_adds
    assert counted.flops > counted.multiply_adds  # the normalisations
    assert not counted.note
    committed = read(load_catalog().folder / "swin_smt" / "measured" / "flops.csv")
    expected = {name: str(value) for name, value in vars(counted).items() if name != "made"}
    assert {"row": model, **expected} in committed  # else: python -m benchmark cost --table


def test_a_network_that_refuses_its_options_is_a_note(monkeypatch):
    def refuse(*_, **__):
        raise InputError("unetr cannot be built: no such option")

    monkeypatch.setattr(cost, "build_for_run", refuse)
    assert cost_of(load_catalog(), RUN.format("unetr")).note == "not attempted (unetr cannot be built: no such option)"


def test_a_target_has_one_line_per_row(tmp_path, monkeypatch):
    catalog = load_catalog()
    monkeypatch.setattr(cost, "cost_of", lambda catalog, run: RunCost(run, parameters=7))
    count_target(catalog, "table2_experts", tmp_path / "cost.csv")
    lines = read(tmp_path / "cost.csv")
    assert [line["row"] for line in lines] == list(catalog.target("table2_experts").rows)
    assert [(line["row"], line["run"]) for line in lines] == rows_of_target(catalog, "table2_experts")
    assert {line["parameters"] for line in lines} == {"7"}
    assert {line["flops"] for line in lines} == {""}


def test_unknown_values_are_empty(tmp_path):
    write_costs(tmp_path / "cost.csv", [("A, b", RunCost("r", note="not attempted (why)"))])
    assert (tmp_path / "cost.csv").read_text() == (
        "row,run,input,parameters,trainable,flops,flops_complete,multiply_adds,note,made,parameters_added\n"
        '"A, b",r,,,,,,,not attempted (why),,\n'
    )


def test_shared_and_frozen_parameters():
    network = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3), "n": nn.BatchNorm1d(3)})
    network["b"].weight = network["a"].weight
    network["b"].bias.requires_grad_(False)
    network.scale = nn.Parameter(network["a"].weight.new_zeros(2))
    counted = count_parameters(network)
    assert counted.by_module == {"": 2, "a": 9, "b": 3, "n": 6}
    assert (counted.parameters, counted.trainable, counted.buffers) == (20, 17, 7)


def test_nothing_to_count():
    arguments = SimpleNamespace(target="table2_experts", out=None, table=False, paper_tables=load_catalog().folder)
    arguments.variant = None
    with pytest.raises(InputError, match="nothing to count"):
        cost.main(arguments)
