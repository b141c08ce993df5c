"""Every number of the page is that of the csv files; nothing is lost, nothing is loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.page_results import BUILT, CENTRES, csv_lines, read_page, run_of

from benchmark.audit.findings import Agreement
from benchmark.audit.statement_checks import statement_findings
from benchmark.catalog.catalog import DEFAULT_FOLDER, load_catalog
from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.evidence.csv_files import COMPARE_COLUMNS
from benchmark.evidence.verdict import Outcome, Verdict
from benchmark.layout import Layout
from benchmark.page import component
from benchmark.page.audit import audit_section
from benchmark.page.claims import claimed
from benchmark.page.component import table_component
from benchmark.page.material import Material, read_material, read_table
from benchmark.page.page import embedded
from benchmark.page.tables import tables_section
from benchmark.page.templates import address, render
from benchmark.page.verdicts import KINDS, PRINTED_TEXT, UNREADABLE, split_verdict

pytestmark = pytest.mark.xdist_group("page")

CATALOG = load_catalog()
TABLES = [target for target in CATALOG.targets.values() if target.kind == "table"]
LARGEST = 8e6  # bytes, as a mail takes it


@pytest.fixture(scope="module")
def page(results):
    return read_page((results / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compared(results) -> dict[tuple[str, str, str], dict[str, str]]:
    return {
        (target, line["row"], line["column"]): line
        for target in BUILT
        for line in csv_lines(results / f"{target}.compare.csv")
    }


def test_a_table_shows_what_its_csv_has(page, results, compared) -> None:
    """Rebuilt and published, in the cell whose address names row and column; controls below."""
    elements, _ = page
    for target in BUILT:
        shown = {line["row"]: line for line in csv_lines(results / f"{target}.csv")}
        cells = [found for found in elements if found.tag == "a" and found.inside(**{"data-target": target})]
        parts = {found.attributes["href"]: found.below for found in cells}
        lines = {key: line for key, line in compared.items() if key[0] == target}
        assert set(parts) == {address("tables", *key) for key in lines}
        for key, line in lines.items():
            inner = parts[address("tables", *key)]
            rebuilt = [one.text for one in inner if one.has("rebuilt")]
            claim = CATALOG.target(target).claim(*key[1:])
            assert rebuilt == ([shown[key[1]][key[2]]] if line["rebuilt"] else [])
            assert [one.text for one in inner if one.has("published")] == [
                f"{claim.value} {claim.stars}".strip() or "–"
            ]
    rows = [found for found in elements if found.has("control") and found.inside(**{"data-target": "table1_totalseg"})]
    texts = [one.text for row in rows for one in row.below if one.tag == "td"]
    line = next(line for line in csv_lines(results / "table1_totalseg.csv") if line["row"] == "control: class prior")
    assert texts == list(line.values())[1:] and "25.00" in texts


def test_the_panel_of_a_cell_has_its_whole_line(page, compared) -> None:
    cells = {
        (target, cell["row"], cell["column"]): cell["compare"]
        for target, found in page[1]["tables"]["cells"].items()
        for cell in found
    }
    assert {key: line for key, line in cells.items() if line} == compared
    assert all(set(line) == set(COMPARE_COLUMNS) for line in compared.values())
    assert len(cells) == sum(len(target.published) for target in TABLES)


def test_the_list_of_claims_is_coverage_and_verdicts(page, results, compared) -> None:
    rows, lines = page[1]["claims"]["rows"], csv_lines(results / "coverage.csv")
    assert len(rows) == len(lines) == 900
    for row, line in zip(rows, lines, strict=True):
        assert (row["paper"], row["identifier"], row["kind"]) == (line["paper"], line["target"], line["kind"])
        assert (row["state"], row["needs"]) == (line["state"], line["needs"])
        found = compared.get((line["target"], line["row"], line["column"]))
        if found:
            assert (row["rebuilt"], row["delta"]) == (found["rebuilt"], found["delta"])
        if found and row["verdict"] not in (PRINTED_TEXT, UNREADABLE):
            assert str(Verdict(Outcome(row["verdict"]), row["reason"])) == found["verdict"]
        elif not found and line["kind"] == "cell" and line["state"] == "not attempted":
            assert (row["verdict"], row["reason"]) == ("not attempted", line["reason"])
    assert {"below", "above"} <= {row["verdict"] for row in rows}
    assert all(row["printed"] == line["printed"] for row, line in zip(rows, lines, strict=True) if row["number"])


def test_cards_count_every_cell_once(page, results) -> None:
    elements, data = page
    counted = Counter()
    for card in (found for found in elements if found.has("card")):
        title = next(one.text for one in card.below if one.tag == "h2")
        for link in (one for one in card.below if one.has("count")):
            number = next(one.text for one in link.below if one.tag == "b")
            counted[title, link.text.split(number, 1)[1].strip()] += int(number)
    titles = {name: folder.paper.title for name, folder in CATALOG.papers.items()}
    cells = [row for row in data["claims"]["rows"] if row["kind"] == "cell"]
    assert counted == Counter((titles[row["paper"]], row["verdict"]) for row in cells)
    assert counted.total() == sum(line["kind"] == "cell" for line in csv_lines(results / "coverage.csv")) == 754


def test_the_audit_shows_every_check_with_both_sides(page, results) -> None:
    elements, _ = page
    shown = Counter()
    for found in (one for one in elements if one.has("finding")):
        sides = [one.text for one in found.below if one.tag == "dd"]
        shown[next(one.text for one in found.below if one.has("check")), *sides] += 1
    lines = csv_lines(results / "audit.csv")
    wanted = Counter()
    for line in lines:
        sides = [line["expected"], line["printed"], line["difference"]] if line["expected"] else [line["printed"]]
        wanted[line["check"], *filter(None, sides)] += 1
    assert shown == wanted
    wrong = sum(line["outcome"] == Agreement.DISAGREES for line in lines)
    assert f"{wrong} do not add up" in next(one.text for one in elements if one.attributes.get("id") == "audit")


def test_the_ledger_shows_every_entry_with_its_evidence(page) -> None:
    entries = {one.attributes["id"]: one.text for one in page[0] if one.has("entry")}
    ours = {f"ledger/{name}/{one.id}": one for name, folder in CATALOG.papers.items() for one in folder.ledger}
    assert set(entries) == set(ours) and len(ours) > 150
    for name, entry in ours.items():
        told = f"Authors: {entry.asked_authors}."
        for text in (entry.subject, entry.as_written, entry.as_released, entry.evidence, entry.because, told):
            assert text in entries[name]


def test_the_budget_is_that_of_its_csv(page, results) -> None:
    elements, _ = page
    rows = [one for one in elements if one.tag == "tr" and one.inside(id="budget")]
    cells = {
        next(one.text for one in row.below if one.tag == "th"): [one.text for one in row.below if one.tag == "td"]
        for row in rows
    }
    for line in csv_lines(results / "budget.csv"):
        target = CATALOG.target(line["target"])
        shown = cells[f"{target.number}: {target.title}"]
        assert shown[:2] == [line["runs"], line["jobs"]]
        hours = float(line["gpu_hours"])
        assert shown[3].removeprefix("≥ ") in (f"{hours:,.0f}", "unknown")


def test_a_panel_leads_to_runs_settings_and_ledger_that_are_there(page) -> None:
    data = page[1]["tables"]
    for found in data["cells"].values():
        for cell in found:
            assert set(cell["runs"]) <= set(data["runs"]) and set(cell["ledger"]) <= set(data["ledger"])
            assert set(cell["settings"]) <= set(data["settings"]) and cell["verdict"] in data["verdicts"]
    one = next(
        cell for cell in data["cells"]["table1_totalseg"] if (cell["row"], cell["column"]) == ("UNETR", "Overall")
    )
    tagged = [data["tagged"][number] for number in data["settings"][one["settings"][0]]]
    assert ["training.epochs", "1000", "", "paper", "Section 3, Implementation details"] in tagged
    counted = next(cell for cell in data["cells"]["table1_totalseg"] if cell["column"] == "Params (M)")
    kinds = {data["tagged"][number][0].split(".")[0] for key in counted["settings"] for number in data["settings"][key]}
    assert kinds == {"options", "training"}  # what decides a count, and nothing else


def test_only_files_that_are_there_are_linked(page, results) -> None:
    data = page[1]["tables"]
    links = [path for part in (*data["runs"].values(), *data["targets"].values()) for _, path in part["links"]]
    assert links and all((results / path).exists() for path in links)
    own = dict(data["runs"][run_of("UNETR")]["links"])
    assert own == {
        "log of the training": f"logs/runs/{run_of('UNETR')}/train.log",
        "scores": f"runs/{run_of('UNETR')}/scores.parquet",
    }
    assert ["loss curves", "training/table1_totalseg.svg"] in data["targets"]["table1_totalseg"]["links"]


def test_every_address_of_the_page_leads_to_a_place_in_it(page) -> None:
    elements, data = page
    named = {one.attributes["id"] for one in elements if "id" in one.attributes}
    places = {address(*name.split("/")) for name in named if "/" in name} | {f"#{name}" for name in named}
    cells = {address("tables", name, cell["row"], cell["column"]) for name in data["tables"]["cells"]
             for cell in data["tables"]["cells"][name]}  # fmt: skip
    places |= cells | {address("tables", name) for name in data["tables"]["targets"]}
    places |= {address("cases", run["run"]) for run in data["cases"]["runs"]}
    links = {one.attributes.get("href", "") for one in elements if one.tag == "a"}
    links = {link for link in links if link.startswith("#") and not link.startswith("#claims?")}
    assert not sorted(links - places)[:5]


def test_it_is_one_file_small_enough_to_send(page, results) -> None:
    text = (results / "index.html").read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    loading = [one.attributes for one in page[0] if one.tag != "a" and {"src", "href"} & set(one.attributes)]
    assert loading == [{"rel": "icon", "href": "data:,"}]
    assert not re.search(r"@import|url\(\s*['\"]?https?:", text)


def test_papers_have_their_titles(page) -> None:
    """Runs go by their ids, which begin with a paper's."""
    shown = (one for one in page[0] if one.tag in ("h2", "option", "th") and not one.inside(id="cases"))
    text = " ".join(one.text for one in shown)
    assert all(folder.paper.title in text for folder in CATALOG.papers.values())
    assert not any(name in text for name in CATALOG.papers)


def test_from_the_claims_alone_it_needs_neither_torch_nor_a_results_folder(tmp_path) -> None:
    script = (
        "import sys; from benchmark.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or [name for name in ('torch', 'snakemake') if name in sys.modules] or 0)"
    )
    out = tmp_path / "page.html"
    command = [sys.executable, "-c", script, "page", "--published", "--out", str(out)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    elements, data = read_page(out.read_text(encoding="utf-8"))
    tables = data["tables"]
    cells = [cell for found in tables["cells"].values() for cell in found]
    assert all(cell["compare"]["published"] == cell["published"] for cell in cells if cell["published"] != UNREADABLE)
    assert not any(part["links"] for part in (*tables["runs"].values(), *tables["targets"].values()))
    # counted networks need no run
    assert any(cell["verdict"] == "within" and cell["column"] == "Params (M)" for cell in cells)
    assert not any(cell["compare"]["n"] for cell in cells)
    assert any(one.has("finding") for one in elements)


def test_from_the_claims_alone_it_wants_a_place() -> None:
    assert main(["page", "--published"]) == 2


def test_from_scores_that_were_handed_in(tmp_path, results, capsys) -> None:
    scores = [str(results / f"runs/{run_of(row)}/scores.parquet") for row in CENTRES]
    out = tmp_path / "page.html"
    assert main(["page", "--scores", *scores, "--results", str(tmp_path / "empty"), "--out", str(out)]) == 0
    _, data = read_page(out.read_text(encoding="utf-8"))
    line = next(line for line in csv_lines(results / "table1_totalseg.compare.csv") if line["column"] == "Overall")
    cells = data["tables"]["cells"]["table1_totalseg"]
    shown = next(cell["compare"] for cell in cells if (cell["row"], cell["column"]) == (line["row"], "Overall"))
    assert shown == line and line["rebuilt"]
    assert "no table has a row" not in capsys.readouterr().err


def test_a_table_that_is_damaged_or_lost_is_told(tmp_path, results) -> None:
    names = {path.name: path.read_text(encoding="utf-8") for path in results.glob("table2_experts.*")}
    for name, text in names.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    layout, target = Layout(str(tmp_path)), CATALOG.target("table2_experts")
    assert read_table(CATALOG, layout, target).compared
    (tmp_path / "table2_experts.csv").write_text("row,DSC\n", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        read_table(CATALOG, layout, target)
    (tmp_path / "table2_experts.csv").unlink()
    with pytest.raises(InputError, match="missing"):
        read_table(CATALOG, layout, target)


def test_an_empty_results_folder_shows_what_was_published(tmp_path) -> None:
    material = read_material(CATALOG, Layout(str(tmp_path)), "demo")
    claims = claimed(material)
    verdicts = {claim.verdict for claim in claims if claim.kind == "cell"}
    assert verdicts == {"not attempted", PRINTED_TEXT, UNREADABLE}
    elements, _ = read_page(tables_section(material, claims).html)
    assert not any(one.has("rebuilt") for one in elements)
    assert sum(one.has("published") for one in elements) == 754
    assert {one.text for one in elements if one.tag == "caption"} == {"Demo scale, not comparable"}


def test_text_cannot_leave_its_place() -> None:
    evil = "</script><script>alert(1)</script>"
    finding = next(statement_findings(CATALOG))
    material = Material(CATALOG, Layout("none"), "paper", {}, (), (replace(finding, note=evil),))
    text = audit_section(material).html
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text and evil not in text
    assert "<" not in embedded({"a": evil}) and "\u2028" not in embedded("\u2028")


def test_an_unknown_value_of_a_template_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("claims.html")


@pytest.mark.parametrize("outcome", Outcome)
def test_a_verdict_is_read_back(outcome: Outcome) -> None:
    for reason in ("", "no GPU", "a (b) c", "ends (here)"):
        kind, found = split_verdict(str(Verdict(outcome, reason)))
        assert (kind, found) == (KINDS[outcome], reason)
    with pytest.raises(ValueError):
        split_verdict(f"{outcome}ish")


def test_the_table_component_is_that_of_the_wheel(monkeypatch) -> None:
    script, style = table_component()
    assert "globalThis.DataTable=" in script and "export{" not in script and "DataTables 2." in script
    assert "MIT" in script and style
    with pytest.raises(InputError, match="another than expected"):
        component._classic("const a = 1; export{a as b};")
    monkeypatch.setattr(component, "files", lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name)))
    with pytest.raises(InputError, match="missing"):
        table_component()


def test_contradicted_cells_are_those_of_the_papers_files(page) -> None:
    marked = {(row["identifier"], *(row[name] for name in ("row", "column"))) for row in page[1]["claims"]["rows"]
              if row["contradicted"]}  # fmt: skip
    files = DEFAULT_FOLDER.glob("*/contradictions.csv")
    assert marked == {(line["target"], line["row"], line["column"]) for file in files for line in csv_lines(file)}
