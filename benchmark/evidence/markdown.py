"""The readable form of a rebuilt table: aligned columns, a mark per verdict, footnotes with what they rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from benchmark.datasets import available_datasets, get_dataset
from benchmark.evidence.cells import JudgedCell
from benchmark.evidence.rebuilt import Table
from benchmark.evidence.significance_text import significance_text
from benchmark.evidence.verdict import Outcome
from benchmark.markdown import aligned

DEMO_BANNER = """\
> **Demo scale, not comparable.** Small networks, few steps, phantom or sample data: the scores show that the pipeline
> runs, not what the networks can do. Parameters and FLOPs are those of the paper's scale."""
PILOT_BANNER = """\
> **Pilot, not comparable.** The datasets and the papers' networks, trained in a share of the steps: a look at whether a
> row is worth its GPU-hours."""
BANNERS = {"demo": DEMO_BANNER, "pilot": PILOT_BANNER}
CANONICAL_NOTE = """\
In it failure never improves a score: missing predictions, missed structures and structures predicted where there are
none all count as zero. The difference is what the table's own convention leaves out."""
TOLD_NOTE = (
    "told one point of every structure that the reference shows in a slice, the same point for all networks, "
    "and nothing of structures that it does not show, so that they cannot predict one there. The control `point disc` "
    "knows as much: a disc of the structure's median size around each point."
)
FOLDS_NOTE = (
    "Each fold is tested by networks that have seen none of its patients; the table above has the mean over folds. ± "
    "is the standard deviation over folds. Trainings of two folds share most of their patients, so that it does not "
    "say how much the mean would vary."
)
FAILURES = (
    ("cases without prediction", "missing"),
    ("present structures missed", "missed"),
    ("absent structures predicted", "false_positive"),
)
MARKS = {
    Outcome.WITHIN: "=",
    Outcome.ABOVE: "▲",
    Outcome.BELOW: "▼",
    Outcome.NOT_SEPARABLE: "≈",
    Outcome.NOT_COMPARABLE: "×",
    Outcome.INCONSISTENT: "!",
    Outcome.NOT_ATTEMPTED: "·",
}


def table_markdown(table: Table) -> str:
    """The whole page: caption, rebuilt beside published, verdicts, significance, failures, footnotes."""
    target = table.target
    parts = [f"# {target.number}: {target.title}", target.caption]
    if table.scale in BANNERS:
        parts.append(BANNERS[table.scale])
    parts += [_main_table(table), _legend(table)]
    if table.folds:
        parts += ["## Folds", FOLDS_NOTE, _folds(table)]
    if table.significance:
        parts += ["## Significance, as published and recomputed"]
        parts += significance_text(table.significance, table.target)
    if table.canonical:
        parts += ["## The same predictions under the canonical convention", CANONICAL_NOTE, _canonical(table)]
    if table.failures:
        parts += ["## Cases and failures", _failures(table)]
    parts += ["## Footnotes", _footnotes(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _folds(table: Table) -> str:
    columns = [name for name in table.target.columns if any(name in item.columns for item in table.folds)]
    rows = [["row and fold", *columns]]
    for item in table.folds:
        *folds, deviation = item.lines(dict.fromkeys(columns))
        means = [table.cells[item.row, name].text for name in columns]
        spread = [f"{mean} ± {sd}" if sd else mean for mean, sd in zip(means, deviation[1:], strict=True)]
        rows += [*folds, [f"**{item.row}: mean ± sd**", *spread]]
    return aligned(rows)


def _main_table(table: Table) -> str:
    columns = list(table.target.columns)
    rows = [["rebuilt (published)", *columns]]
    rows += [[row, *(_beside(table.cells[row, name]) for name in columns)] for row in table.target.rows]
    rows += [
        [f"*{row}*", *(table.controls[row, name].text if (row, name) in table.controls else "" for name in columns)]
        for row in table.control_rows
    ]
    return aligned(rows)


def _beside(cell: JudgedCell) -> str:
    mark = MARKS[cell.verdict.outcome]
    if cell.published.kind != "number":
        own = cell.text if cell.measured.rebuilt is not None else ""
        printed = f"({cell.published.text})" if own and cell.published.text else cell.published.text
        return f"{own} {printed}".strip() or "–"
    value = cell.text if cell.measured.rebuilt is not None and not cell.measured.not_attempted else "–"
    return f"{value} {mark} ({cell.published.text}{cell.stars and ' *'})"


def _legend(table: Table) -> str:
    cells = [cell for cell in table.claimed_cells if cell.published.kind == "number"]
    counts = Counter(str(cell.verdict) for cell in cells)
    mark = {str(cell.verdict): MARKS[cell.verdict.outcome] for cell in cells}
    lines = [f"{len(cells)} published numbers; docs/verdicts.md says how they are judged.", ""]
    lines += [f"- `{mark[verdict]}` {verdict}: {count}" for verdict, count in sorted(counts.items(), key=_by_count)]
    return "\n".join(lines)


def _canonical(table: Table) -> str:
    """Score cells under `canonical`, with how far each is from the table's own convention."""
    rows_of = dict.fromkeys(row for row, _ in table.canonical)
    columns = [name for name in table.target.columns if any((row, name) in table.canonical for row in rows_of)]
    rows = [["canonical (difference)", *columns]]
    for row in rows_of:
        rows.append([row, *(_shift(table, row, name) for name in columns)])
    return aligned(rows)


def _shift(table: Table, row: str, name: str) -> str:
    canonical, own = table.canonical.get((row, name)), table.cells[row, name].measured.rebuilt
    if canonical is None or canonical.measured.rebuilt is None:
        return "–"
    if own is None or math.isnan(own.value):
        return canonical.text
    decimals = len(canonical.text.partition(".")[2])
    return f"{canonical.text} ({canonical.measured.rebuilt.value - own.value:+.{decimals}f})"


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _failures(table: Table) -> str:
    rows = [["row", "cases", "runs" if table.folds else "seeds", *(words for words, _ in FAILURES)]]
    for item in table.failures:
        shares = [_share([getattr(rates, name) for rates in item.rates]) for _, name in FAILURES]
        rows.append([item.row, str(item.cases), str(len(item.rates)), *shares])
    return aligned(rows)


def _share(values: Sequence[float]) -> str:
    """Mean over seeds in percent; a dash where there was no opportunity to fail."""
    known = [value for value in values if not math.isnan(value)]
    return f"{100 * sum(known) / len(known):.1f} %" if known else "–"


def _footnotes(table: Table) -> str:
    cells = list(table.cells.values())
    conventions = sorted({cell.source.convention for cell in cells if cell.measured.cases is not None})
    bands = sorted({cell.measured.band.source for cell in cells if cell.measured.band})
    digests = sorted({digest for cell in cells for digest in cell.digests if digest})
    versions = sorted({version for cell in cells for version in cell.versions if version})
    lines = [f"- Scoring convention: {', '.join(conventions)}." if conventions else ""]
    lines += [f"- Noise band: {band}." for band in bands]
    lines += [f"- {row}: {spec.note}" for row, spec in table.target.rows.items() if spec.note]
    lines += [f"- {cell.row}, {cell.column}: {cell.source.reading}." for cell in cells if cell.source.reading]
    told = dict.fromkeys(cell.row for cell in cells if cell.source.told)
    if told:
        lines.append(f"- {', '.join(told)}: {TOLD_NOTE}")
    origins = dict.fromkeys((cell.row, origin) for cell in cells for origin in cell.origins)
    lines += [f"- {row}: {origin}." for row, origin in origins]
    lines += _shared_scans(table)
    if table.controls:
        lines.append(
            "- Controls: what no network can beat (oracle: the reference) and what needs none (empty, class prior)."
        )
    lines.append(f"- Provenance of every cell: {table.target.target}.compare.csv.")
    if versions:
        lines.append(f"- Code version {', '.join(versions)}; {len(digests)} run configurations.")
    return "\n".join(line for line in lines if line)


def _shared_scans(table: Table) -> list[str]:
    """Of columns whose data sets have scans in common, what follows from it."""
    columns: dict[str, list[str]] = {}
    for (_, name), cell in table.cells.items():
        if cell.source.dataset and name not in columns.setdefault(cell.source.dataset, []):
            columns[cell.source.dataset].append(name)
    known = [name for name in columns if name in available_datasets()]
    shared = [(name, other, text) for name in known for other, text in get_dataset(name).shared_scans.items()]
    return [f"- {', '.join(columns[name])}: {text} ({other})." for name, other, text in shared if other in columns]
