"""Errors a user can act on: which file, what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

EXIT_INPUT = 2  # the input or configuration is wrong; trying again does not help
IN_WORKFLOW = "RETABLE_WORKFLOW"  # environment variable of jobs
REFUSED = "exit 2, the input is wrong; not tried again: "  # last line of such a job, then when
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

    def _details(self) -> list[tuple[str, object]]:
        return [
            ("where", self.where),
            ("expected", self.expected),
            ("found", self.found),
            ("what to do", self.remedy),
        ]

    def __reduce__(self):
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
    """The end of a message about an unknown name: "; did you mean 'x'?", or nothing where no choice is near."""
    close = difflib.get_close_matches(name, map(str, choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _rebuild(kind: type[InputError], problem: str, details: dict) -> InputError:
    return kind(problem, **details)
