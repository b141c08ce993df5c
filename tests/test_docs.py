"""The documents: every page is in the index, every link leads somewhere, and no page points outside the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers.dry_run import REPOSITORY

from benchmark import __version__
from benchmark.catalog import load_catalog
from benchmark.cli import COMMANDS, build_parser
from benchmark.jobs.configuration import WorkflowConfig

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("envs/*.md"),
                *REPOSITORY.glob("results/README.md")])  # fmt: skip


PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what may be gone
NAMED = re.compile(r"`((?:benchmark|demo|docs|envs|paper_tables|slurm|speed|tests|workflow)/[\w./-]+)`")
MADE = {"envs/retable.sif"}  # by a command that stands there
COMMAND = re.compile(r"(?:python -m benchmark|retable) +([a-z][a-z-]+)([^`\n|;]*)")


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\((?!https?:)([^)#\s]+)", text)


def test_every_page_is_in_the_index() -> None:
    index = REPOSITORY / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in links(index)}
    assert {page for page in REPOSITORY.glob("docs/*.md") if page != index} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere_in_the_repository(page: Path) -> None:
    for link in links(page):
        target = (page.parent / link).resolve()
        assert target.exists(), link
        assert target.is_relative_to(REPOSITORY), link


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    for name in set(NAMED.findall(page.read_text(encoding="utf-8"))) - MADE:
        assert (
            (REPOSITORY / name).exists() or (page.parent / name).exists() or (REPOSITORY / "tests" / name).exists()
        ), name


def test_commands_options_and_settings_that_the_pages_show_are_there() -> None:
    parser, _ = build_parser(COMMANDS)
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    options = {name: set(command._option_string_actions) for name, command in commands.items()}
    for page in PRESENT:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for command, words in COMMAND.findall(text):
            assert command in commands, f"{page}: {command}"
            if command != "new":  # whose options are those of what is made
                assert set(re.findall(r"(?<=\s)--[a-z-]+", words)) <= options[command], f"{page}: {command}{words}"
        for words in re.findall(r"--config ([^`\n]*)", text):
            assert set(re.findall(r"(?:^|[\s'\"])([a-z_]+)=", words)) <= set(WorkflowConfig.model_fields), (
                f"{page}: {words}"
            )


def test_the_citation_has_the_five_papers_and_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    papers = [paper.paper for paper in load_catalog().papers.values()]
    cited = {reference["title"]: reference for reference in citation["references"]}
    for paper in papers:
        reference = cited[paper.title]
        authors = [f"{author.get('given-names', '')} {author['family-names']}" for author in reference["authors"]]
        assert authors == list(paper.authors)
        assert reference["year"] == paper.year
    assert len(papers) == 5
