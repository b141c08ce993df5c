// One table at a time; a cell in the address opens its panel.
const { element } = page;
const part = document.getElementById("tables");
const { targets, cells, verdicts, runs, settings, tagged, ledger } = page.data("tables");
const chooser = part.querySelector("select");
const dialog = part.querySelector("dialog");

chooser.addEventListener("change", () => (location.hash = page.address("tables", chooser.value)));
dialog.addEventListener("close", () => {
  // no new place in the history: the table stays where the reader left it
  if (/^#tables\/.*\//.test(location.hash)) history.replaceState(null, "", page.address("tables", chooser.value));
});
addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#tables/")) dialog.close(); // an open one would block the other parts
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

part.addEventListener("shown", ({ detail: { names } }) => {
  const [asked, row, column] = names;
  chooser.value = asked in targets ? asked : chooser.value || Object.keys(targets)[0];
  for (const table of part.querySelectorAll(".target")) table.hidden = table.dataset.target !== chooser.value;
  const cell = cells[asked]?.find((one) => one.row === row && one.column === column);
  if (!cell) return dialog.open && dialog.close();
  dialog.replaceChildren(...panel(targets[asked], cell, asked));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
});

function panel(target, cell, name) {
  const { style, mark, words } = verdicts[cell.verdict];
  const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", () => dialog.close());
  const compared = cell.compare;
  const interval = compared.interval_lower ? `${compared.interval_lower} to ${compared.interval_upper}` : "";
  return [
    close,
    element("h2", { id: "cell-title" }, `${cell.row}, ${cell.column}`),
    element("p", { class: "about" }, `${target.number} of ${target.paper}`),
    element("p", { class: `verdict ${style}` },
      element("span", { class: "mark", "aria-hidden": "true" }, mark), " ",
      element("b", {}, cell.verdict + (cell.reason ? ` (${cell.reason})` : "")), ` ${words}`),
    facts({
      "Published": `${cell.published} ${cell.stars}`.trim() || "(empty)",
      "Rebuilt": compared.rebuilt,
      "Rebuilt minus published": compared.delta,
      "90 % interval": interval && `${interval} over ${compared.interval_over}`,
      "Spread over cases": compared.spread,
      "Cases (n)": compared.n,
      "Seeds": compared.seeds,
      "Noise band": compared.band && `± ${compared.band}: ${compared.band_source}`,
      "Convention": compared.convention,
      "By other conventions": compared.also,
      "The paper says otherwise": cell.contradicted,
      "How the ledger reads it": compared.reading,
      "Where the values are from": compared.origin,
      "Needs": cell.needs,
      "Scored with": [compared.config_digest && `configuration ${compared.config_digest}`, compared.code_version &&
        `code ${compared.code_version}`].filter(Boolean).join(", "),
    }),
    ...commands(target.command, `python -m benchmark explain ${name} ${quoted(cell.row)} ${quoted(cell.column)}`),
    ...entries(cell.ledger),
    ...cell.runs.map(run),
    ...links("Files of the table", target.links),
    ...cell.settings.map(protocol),
  ];
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`; // as a shell reads it
}

function facts(values) {
  const known = Object.entries(values).filter(([, value]) => value);
  return element("dl", { class: "facts" },
    known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function commands(...texts) {
  const lines = texts.map((text) => {
    const code = element("code", {}, text);
    return element("p", { class: "command" }, code, page.copier(text, code));
  });
  return [element("h3", {}, "Rebuild it, derive it"), ...lines];
}

function entries(names) {
  if (!names.length) return [];
  const items = names.map((name) => {
    const { subject, because, default: chosen } = ledger[name];
    const link = element("a", { href: page.address("ledger", ...name.split("/")) }, subject);
    return element("li", {}, link, `: ${chosen.replace("_", " ")}, because ${because}`);
  });
  return [element("h3", {}, "Ledger"), element("ul", {}, items)];
}

function run(name) {
  const { network, digest, elsewhere, trainings, links: files } = runs[name];
  return element("section", { class: "run" },
    element("h3", {}, "Run ", element("code", {}, name)),
    facts({ "State": elsewhere || "can be run", "Network": network, "Configuration today": digest,
      "Weights trained by": trainings.join(", ") }),
    files.length ? list(files) : "");
}

function links(title, files) {
  return files.length ? [element("h3", {}, title), list(files)] : [];
}

function list(files) {
  return element("ul", { class: "files" },
    files.map(([words, path]) => element("li", {}, element("a", { href: encodeURI(path) }, words))));
}

function protocol(key) {
  const rows = settings[key].map((number) => {
    const [name, value, paper, kind, text] = tagged[number];
    const ours = paper && element("span", { class: "ours" }, ` (ours, for the demo; the paper's scale has ${paper})`);
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value, ours),
      element("td", {}, element("span", { class: `tag ${kind}` }, kind), ` ${text}`));
  });
  const head = element("tr", {}, ["Setting", "Value", "Where it comes from"].map((text) =>
    element("th", { scope: "col" }, text)));
  return element("details", { open: "" },
    element("summary", {}, `Protocol values of ${key.split(" ")[0]} (${rows.length})`),
    element("table", { class: "plain" }, element("thead", {}, head), element("tbody", {}, rows)));
}
