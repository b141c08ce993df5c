"""The base of all settings, and what several of them use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_serializer

Scale = Literal["paper", "pilot", "demo"]
ELSEWHERE = "elsewhere"  # in place of a network: somebody else has it, and hands in what it predicts or scores
RELEASED = "released"  # in place of a training: the network's released weights are scored as they are


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    added: ClassVar[frozenset[str]] = frozenset()  # fields left out of the dump while they have their default:
    # what was made before there were such fields is still made by the same settings, and has the same digest

    @model_serializer(mode="wrap")
    def _dump(self, default: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        unset = {name for name in self.added if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in default(self).items() if name not in unset}


class Step(Settings):
    """One named operation with its parameters, e.g. an augmentation."""

    name: str = Field(description="Registered name of the operation")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its keyword arguments")
