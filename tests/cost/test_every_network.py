"""Every registered network can be counted: on the meta device, with no operator but those counted by hand as well."""

from __future__ import annotations

import pytest
from helpers.hand_counts import HAND_COUNTS

from benchmark.cost.flops import count_flops
from benchmark.cost.meta import build_on_meta
from benchmark.cost.parameters import count_parameters
from benchmark.models.registry import available_models, build, model_entry


@pytest.mark.parametrize("name", available_models())
def test_every_network_can_be_counted(name):
    entry = model_entry(name)
    for dimensions in entry.spatial_dims:
        side = {2: 64, 3: 32}[dimensions]
        shape = (side,) * (dimensions - 1) + (2 * side,)
        options = {"in_channels": 1, "out_channels": 3, "spatial_shape": shape, **entry.demo}
        network = build_on_meta(build, name, **options)
        assert all(parameter.is_meta for parameter in network.parameters())
        assert count_parameters(network) == count_parameters(build(name, **options))
        flops = count_flops(network, (1, 1, *shape))
        assert not flops.unknown
        assert set(flops.complete) <= {operator for operator, *_ in HAND_COUNTS}
        assert 0 < flops.total("multiply_adds") <= flops.total("fvcore") < flops.total("complete")
