"""Messages that learn their place on the way up keep their kind and all that they say."""

from __future__ import annotations

import pytest

from benchmark.errors import InputError, PassingFault


@pytest.mark.parametrize("kind", [InputError, PassingFault])
@pytest.mark.parametrize(("named", "told"), [(None, "b.nii"), ("a.nii", "a.nii")])
def test_a_message_without_a_place_gets_one(kind: type[InputError], named: str | None, told: str) -> None:
    error = kind("it is damaged", where=named, expected=3, found=0, remedy="get it again").at("b.nii")
    assert type(error) is kind
    assert str(error) == f"it is damaged\n  where: {told}\n  expected: 3\n  found: 0\n  what to do: get it again"
