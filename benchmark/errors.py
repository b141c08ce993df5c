"""Errors a user can act on: which file, what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EXIT_INPUT = 2  # the input or configuration is wrong; trying again does not help
IN_WORKFLOW = "RETABLE_WORKFLOW"  # environment variable of jobs
REFUSED = "exit 2, the input is wrong; not tried again: "  # last line of such a job, then when
NAMES_OFFERED = 3
SHORTEST_PART = 2  # letters of a beginning by which a name is looked for
EXIT_CONTINUE = 75  # EX_TEMPFAIL: stopped in order and saved; run the same command again to continue


class InputError(Exception):
    """Something outside the program is wrong and a person has to change it.

    Args:
        problem: one sentence saying what is wrong.
        where: the file (or key) concerned.
        expected, found: both sides of the mismatch, where there is one.
        remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | Path | None = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.problem, self.where, self.expected, self.found, self.remedy = problem, where, expected, found, remedy
        lines = [problem]
        lines += [f"  {name}: {value}" for name, value in self._details() if value is not None]
        super().__init__("\n".join(lines))

    def at(self, where: str | Path) -> InputError:
        """The same, about `where` if it names no place itself."""
        details = {"expected": self.expected, "found": self.found, "remedy": self.remedy}
        return _rebuild(type(self), self.problem, {"where": self.where or where, **details})

    def _details(self) -> list[tuple[str, object]]:
        return [
            ("where", self.where),
            ("expected", self.expected),
            ("found", self.found),
            ("what to do", self.remedy),
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process boundaries by pickling; the default would lose the keyword arguments.
        return _rebuild, (
            type(self),
            self.problem,
            dict(
                zip(
                    ("where", "expected", "found", "remedy"),
                    (self.where, self.expected, self.found, self.remedy),
                    strict=True,
                )
            ),
        )


class PassingFault(InputError):
    """Something that is wrong now and may be right at the next try: a full disk, another process in the way."""


def did_you_mean(name: str, choices: Iterable[object]) -> str:
    """The end of a message about an unknown name: "; did you mean 'x' or 'y'?", or nothing where no choice is near."""
    near = [repr(choice) for choice in near_names(name, choices)]
    last = " or ".join([", ".join(near[:-1]), near[-1]] if near[1:] else near)
    return f"; did you mean {last}?" if near else ""


def near_names(name: str, choices: Iterable[object]) -> list[str]:
    """The choices that a misspelt or shortened name may mean: the nearest, then those that begin with it or hold it.

    Letter case does not count. At most three; none where nothing is near.
    """
    known, wanted = list(dict.fromkeys(map(str, choices))), name.casefold()
    folded = {choice.casefold(): choice for choice in reversed(known)}
    near = [folded[match] for match in difflib.get_close_matches(wanted, folded, n=1)]
    if len(wanted) >= SHORTEST_PART:
        near += [choice for choice in known if choice.casefold().startswith(wanted)]
        near += [choice for choice in known if wanted in choice.casefold()]
    return list(dict.fromkeys(near))[:NAMES_OFFERED]


def _rebuild(kind: type[InputError], problem: str, details: dict[str, Any]) -> InputError:
    return kind(problem, **details)
