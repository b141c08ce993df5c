"""Every torch function that is called, seen before it runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


class FunctionMode(TorchFunctionMode):
    """Inside `with`, `call` stands for each torch function; what it calls itself goes past it."""

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.call(function, args, dict(kwargs or {}))

    @abstractmethod
    def call(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `function(*args, **kwargs)` gives now; `kwargs` is a copy."""
