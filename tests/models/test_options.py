"""Options of networks in paper_tables: each exists, and a typo names the file, the key and what is allowed."""

from __future__ import annotations

import pytest

from benchmark.catalog import load_catalog
from benchmark.errors import InputError
from benchmark.models.registry import allowed_options, available_models, build, build_for_run, model_entry

CATALOG = load_catalog()
NAMED = [
    (paper, name, model.spec)
    for paper, folder in CATALOG.papers.items()
    for name, model in folder.models.items()
    if model.spec.name in available_models()
]


@pytest.mark.parametrize(("paper", "name", "spec"), NAMED, ids=[f"{paper}-{name}" for paper, name, _ in NAMED])
def test_every_option_of_the_catalog_exists(paper: str, name: str, spec) -> None:
    entry = model_entry(spec.name)
    assert {*spec.options, *(spec.demo or {}), *entry.demo} <= set(allowed_options(entry))


@pytest.mark.parametrize("name", available_models())
def test_an_unknown_option_is_refused_with_the_nearest(name: str) -> None:
    own = allowed_options(model_entry(name))
    with pytest.raises(InputError) as caught:
        build(name, in_channels=1, out_channels=2, spatial_shape=(64,) * model_entry(name).spatial_dims[0],
              **{own[0] + "_": 1})  # fmt: skip
    message = str(caught.value)
    assert f"no option '{own[0]}_'; did you mean" in message and all(option in message for option in own)


def test_a_typo_in_a_yaml_names_its_file() -> None:
    config = CATALOG.run("swin_smt/totalseg/swin_smt-n32/seed0")
    wrong = config.model.model_copy(update={"options": {"num_expert": 32}})
    with pytest.raises(InputError, match=r"did you mean 'num_experts'") as caught:
        build_for_run(config.model_copy(update={"model": wrong}), in_channels=1, out_channels=2)
    assert "paper_tables/swin_smt/models.yaml: swin_smt-n32" in str(caught.value)
