// The list of all claims: its filters live in the address, and what they leave can be downloaded.
const part = document.getElementById("claims");
const { rows, columns, marks } = page.data("claims");
const form = document.getElementById("claims-filters");
const shown = document.getElementById("claims-shown");
const FILTERS = { paper: "short", target: "target", kind: "kind", verdict: "verdict" };
const plain = DataTable.render.text().display;
let filter = new URLSearchParams();

const link = (row) => page.address("tables", row.identifier, row.row, row.column);
const number = (text) => (text === "" || text == null ? -Infinity : Number(text));
const table = new DataTable("#claims-table", {
  data: rows,
  autoWidth: false,
  deferRender: true,
  order: [],
  pageLength: 50,
  layout: { topStart: null, topEnd: null, bottomStart: "pageLength", bottomEnd: "paging" },
  columns: [
    { data: "short", render: plain },
    { data: "target", render: plain },
    { data: "row", render: (text, type, row) =>
      type === "display" && row.kind === "cell" ? `<a href="${plain(link(row))}">${plain(text)}</a>` : plain(text) },
    { data: "column", render: plain },
    { data: "printed", type: "num", render: (text, type, row) => (type === "sort" ? number(row.number) : plain(text)) },
    { data: "rebuilt", type: "num", render: (text, type) => (type === "sort" ? number(text) : plain(text)) },
    { data: "delta", type: "num", render: (text, type) => (type === "sort" ? number(text) : plain(text)) },
    { data: "verdict", render: (text, type) => type !== "display" ? text :
      `<span class="chip ${text.replaceAll(" ", "-")}"><span aria-hidden="true">${marks[text]}</span> ${plain(text)}</span>` },
    { data: "reason", render: (text, type, row) =>
      plain([text, row.contradicted && `the paper says otherwise: ${row.contradicted}`].filter(Boolean).join("; ")) },
  ],
  createdRow: (line) => {
    const heads = document.querySelectorAll("#claims-table thead th");
    [...line.cells].forEach((cell, index) => (cell.dataset.label = heads[index].innerText.trim()));
  },
});
table.search.fixed("filters", (_, row) =>
  Object.entries(FILTERS).every(([name, field]) => !filter.get(name) || row[field] === filter.get(name)));

function apply() {
  table.search(filter.get("search") ?? "").draw();
  const count = table.rows({ search: "applied" }).count();
  shown.textContent = `${count} of ${rows.length} shown.`;
}

part.addEventListener("shown", ({ detail: { query } }) => {
  filter = query;
  for (const field of form.elements) if (field.name) field.value = query.get(field.name) ?? "";
  apply();
});

form.addEventListener("input", () => {
  filter = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", `#claims${filter.size ? `?${filter}` : ""}`);
  apply();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => {
  table.order([]);
  location.hash = "#claims";
});

document.getElementById("claims-download").addEventListener("click", () => {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = table.rows({ search: "applied", order: "applied" }).data().toArray();
  const text = [columns, ...lines.map((line) => columns.map((name) => line[name]))];
  page.download("claims.csv", text.map((line) => line.map(quoted).join(",") + "\n").join(""));
});

addEventListener("beforeprint", () => table.page.len(-1).draw());
addEventListener("afterprint", () => table.page.len(50).draw());
