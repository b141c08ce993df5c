"""The documents: every page is in the index, every link leads somewhere, and no page points outside the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers.dry_run import REPOSITORY

from benchmark import __version__
from benchmark.catalog import load_catalog

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("envs/*.md"),
                *REPOSITORY.glob("results/README.md")])  # fmt: skip


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
