"""Verdicts in words, with a sign for readers who do not see the colour."""

from __future__ import annotations

from typing import NamedTuple

from benchmark.audit.coverage import Coverage
from benchmark.audit.findings import Agreement
from benchmark.evidence.markdown import MARKS
from benchmark.evidence.verdict import Outcome


class Kind(NamedTuple):
    """One kind of verdict: its sign and what it says."""

    name: str
    mark: str
    words: str

    @property
    def style(self) -> str:
        """Its class in the style sheet."""
        return self.name.replace(" ", "-")


WORDS = {
    Outcome.WITHIN: "A count prints as the published one does; a score lies in the stated noise band.",
    Outcome.ABOVE: "A count that prints higher; a score that is higher by more than band and uncertainty together.",
    Outcome.BELOW: "A count that prints lower; a score that is lower by more than band and uncertainty together.",
    Outcome.NOT_SEPARABLE: "The runs at hand cannot tell the two apart: a single run without a noise band, say.",
    Outcome.NOT_COMPARABLE: "There is a rebuilt number, but it answers another question.",
    Outcome.INCONSISTENT: "The paper contradicts itself in this cell, so that no rebuilt number can settle it.",
    Outcome.NOT_ATTEMPTED: "Nothing was computed here.",
}
PRINTED_TEXT, UNREADABLE = "printed text", "unreadable"  # states of coverage that leave nothing to judge
OTHERS = (
    Kind(PRINTED_TEXT, "–", "Words or marks, compared with nothing."),
    Kind(UNREADABLE, "?", "The source text of the paper is damaged here."),
    Kind(str(Agreement.AGREES), "=", "A sentence whose number follows from the printed cells."),
    Kind(str(Agreement.ROUNDING), "≈", "A sentence whose number differs, and rounding of the cells explains it."),
    Kind(str(Agreement.DISAGREES), "!", "A sentence or sum that the printed cells do not give."),
    Kind(str(Agreement.NOTABLE), "○", "Holds, and a reader should know how."),
)
KINDS = {str(outcome): Kind(str(outcome), MARKS[outcome], words) for outcome, words in WORDS.items()}
KINDS |= {kind.name: kind for kind in OTHERS}


def split_verdict(text: str) -> tuple[Kind, str]:
    """Kind and reason of a verdict as compare.csv writes it, e.g. "not attempted (no GPU)".

    Raises:
        ValueError: no such verdict.
    """
    for outcome in Outcome:
        if text == outcome or text.startswith(f"{outcome} ("):
            return KINDS[str(outcome)], text[len(outcome) :].strip().removeprefix("(").removesuffix(")")
    raise ValueError(f"no verdict: {text!r}")


def kind_of(line: Coverage, verdict: str) -> tuple[Kind, str]:
    """Kind and reason of one published number; `verdict` as in compare.csv, empty where its table is not built."""
    if line.state in (PRINTED_TEXT, UNREADABLE):
        return KINDS[line.state], line.reason
    if verdict:
        return split_verdict(verdict)
    if line.state == "recomputed":
        return KINDS[line.reason], ""
    return KINDS[str(Outcome.NOT_ATTEMPTED)], line.reason
