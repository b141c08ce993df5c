"""Typed view of one target: a table or a figure of a paper, its rows, columns and published cells."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from benchmark.settings import Settings

COUNTED = ("parameters", "parameters_added", "flops")  # measures that need a network, and no data
UNREADABLE = "unreadable"  # the value of a cell that the source text has lost


class Claim(Settings):
    """One published cell, verbatim.

    Attributes:
        row, column: the cell's labels as printed (markup removed).
        value: the text as printed, without stars; `unreadable` where the source text is damaged.
        stars: significance marks as printed, e.g. "(*)".
        marking: "bold" or "underline" where the paper marks the cell, else empty.
    """

    row: str
    column: str
    value: str
    stars: str = ""
    marking: Literal["", "bold", "underline"] = ""


class Row(Settings):
    """One row of a table: what has to run to rebuild it."""

    model: str | None = Field(None, description="Name in the paper's models.yaml; null: a row of printed text only")
    protocol: str | None = Field(None, description="Protocol, where it is not the target's")
    recipe: str | None = Field(
        None, description="What trains the row in the protocol's place: the one whose `recipe_of` has this name for it"
    )
    recipes: dict[str, str] = Field(
        default_factory=dict, description="Other recipes for some protocols: protocol → recipe"
    )
    variants: dict[str, str] = Field(
        default_factory=dict,
        description="Recipes that the row has beside its own, by the variant that asks for them (`--config variant=…`)",
    )
    seeds: tuple[int, ...] = Field((0,), description="One run per seed")
    paper: str | None = Field(None, description="Paper whose protocol and model these are, where not the target's")
    note: str = Field("", description="Footnote of the row")


class Extension(Settings):
    """Rows of one's own in a table or figure of another paper, trained by that table's protocols."""

    extend: str = Field(description="Target that gets the rows")
    rows: dict[str, Row] = Field(description="As of a target; `model` is a name in the models.yaml beside this file")


class Column(Settings):
    """One column of a table: which measure, in which unit, printed how."""

    measure: Literal[
        "score",
        "average",
        "parameters",
        "parameters_added",
        "flops",
        "latency",
        "option",
        "setting",
        "cases",
        "text",
        "training_time",
    ] = Field(
        description="score: a metric from scores.parquet; average: the mean of other columns; parameters, flops: "
        "counted; parameters_added: by one more dataset, counted; latency: measured; option: a setting of the row's "
        "model (0 where its network has none); setting: a value of the protocol; cases: a dataset size; text: printed "
        "words, compared with nothing; training_time: of our own trainings, from their logs"
    )
    metric: str | None = Field(
        None,
        description="score: dsc, nsd, f1, …; option: its name; setting: its key, or dimension; cases: train, val, "
        "test or classes",
    )
    of: tuple[str, ...] = Field((), description="average: the columns it is the mean of")
    group: str | None = Field(None, description="Label group of the dataset, or one structure; null: all classes")
    protocol: str | None = Field(None, description="Protocol, where a table's columns are different datasets")
    statistic: Literal["mean", "median", "sd"] = Field("mean", description="Over cases, by the convention's order")
    convention: str | None = Field(None, description="Scoring convention, where not the protocol's")
    unit: Literal["", "%", "K", "M", "G", "T", "s", "h", "hours", "mm"] = Field("", description="As printed")
    decimals: int | None = Field(None, description="Printed decimals")
    rounding: Literal["nearest", "truncate"] = Field("nearest", description="How the authors cut digits")
    better: Literal["higher", "lower", "neither"] = Field("higher", description="Direction of the arrow")


Unit = Literal["cases", "classes", "both"]


class Significance(Settings):
    """One comparison of the rows of a table with one of them, by the published test where there is one."""

    test: Literal["anova", "wilcoxon", "ttest"] | None = Field(
        None, description="The paper's test; null: it has none, and no row is claimed to differ"
    )
    against: str = Field(description="Row every other row is compared with")
    column: str = Field(description="Column whose scores are tested")
    rows: tuple[str, ...] | None = Field(None, description="The rows that are compared; null: all with scores")
    claimed: tuple[str, ...] | None = Field(
        None, description="Rows that the paper's text says differ; null: those with a printed star in the column"
    )
    source: str = Field("", description="Where the paper makes this comparison")
    threshold: float = 0.05


class Figure(Settings):
    """How a figure is drawn."""

    style: Literal["subgroups", "bubbles", "bars", "qualitative", "receptive_field", "features", "diagram", "curves"]
    parameters: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the style")


class Target(Settings):
    """One table or figure: one file under results/.

    Attributes:
        published: verbatim cells; figures that print no numbers of their own have none.
    """

    target: str
    paper: str
    kind: Literal["table", "figure"]
    number: str = Field(description="As the paper numbers it, e.g. 'Table 1'")
    title: str
    caption: str = Field("", description="What the paper's caption says, in our words, with what matters to the reader")
    protocol: str | None = Field(None, description="Protocol of all rows that name none")
    rows: dict[str, Row] = Field(default_factory=dict)
    columns: dict[str, Column] = Field(default_factory=dict)
    significance: tuple[Significance, ...] = Field(
        (), description="Comparisons of its rows; none: each scored column, with the last row of its dataset"
    )
    figure: Figure | None = None
    published: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Target:
        if (self.kind == "figure") != (self.figure is not None):
            raise ValueError("a figure needs the key 'figure', a table must not have it")
        for claim in self.published:
            if claim.row not in self.rows or claim.column not in self.columns:
                raise ValueError(f"published cell ({claim.row!r}, {claim.column!r}) has no row or column in the spec")
        for name, column in self.columns.items():
            unknown = [other for other in column.of if other not in self.columns]
            if unknown or (column.measure == "average") != bool(column.of):
                raise ValueError(
                    f"columns.{name}.of: an average names existing columns, others none (found {column.of})"
                )
        for spec in self.significance:
            for row in (spec.against, *(spec.rows or ()), *(spec.claimed or ())):
                if row not in self.rows:
                    raise ValueError(f"significance: no row {row!r}")
            if spec.column not in self.columns:
                raise ValueError(f"significance.column: no column {spec.column!r}")
        return self

    @property
    def drawing(self) -> Figure:
        """How a figure is drawn.

        Raises:
            ValueError: it is a table.
        """
        if self.figure is None:
            raise ValueError(f"{self.target} is a table, which is not drawn")
        return self.figure

    @property
    def draws_receptive_fields(self) -> bool:
        """Whether it is made from maps that only trained networks can give."""
        return self.figure is not None and self.figure.style == "receptive_field"

    @property
    def draws_features(self) -> bool:
        """Whether it is made from what a trained network's layers see."""
        return self.figure is not None and self.figure.style == "features"

    @property
    def draws_published(self) -> bool:
        """Whether it is a figure that published numbers alone can draw."""
        return self.figure is not None and (self.figure.style == "bubbles" or "stated" in self.figure.parameters)

    @property
    def drawn_tables(self) -> tuple[str, ...]:
        """The tables that a figure draws, if it draws any."""
        parameters = self.figure.parameters if self.figure else {}
        return (*parameters.get("tables", ()), *([parameters["table"]] if "table" in parameters else []))

    @property
    def is_counted(self) -> bool:
        """Whether it is a table with parameters or FLOPs."""
        return self.kind == "table" and any(map(self.measures, COUNTED))

    def measures(self, measure: str) -> bool:
        """Whether a column has this measure."""
        return any(column.measure == measure for column in self.columns.values())

    def claim(self, row: str, column: str) -> Claim | None:
        return next((claim for claim in self.published if (claim.row, claim.column) == (row, column)), None)
