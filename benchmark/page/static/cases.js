// Cases: points of a run's scores, its pictures, and two rows of a table on the same cases. All numbers come from the data.
const { element } = page;
const { runs, tables, pair: names } = page.data("cases");
for (const entry of tables)
  entry.pairs = entry.pairs.map((values) => Object.fromEntries(names.map((name, place) => [name, values[place]])));
const part = document.getElementById("cases");
const at = (name) => document.getElementById(`cases-${name}`);
const text = (value) => (value === null ? "–" : String(value));
const finite = (value) => typeof value === "number";
let chosen = null; // the case of the picture that was pressed

const table = (head, lines) =>
  element("table", { class: "cases-table" },
    element("thead", {}, element("tr", {}, head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, lines.map(([name, ...cells]) =>
      element("tr", {}, element("th", { scope: "row" }, name), cells.map((cell) => element("td", {}, text(cell)))))));

const options = (select, names) => select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));

// A line of points: [place from 0 to 1, words, class] each; those without a place are only counted in its words.
const strip = (name, words, points, ...marks) =>
  element("div", { class: "strip" }, element("span", {}, name),
    element("div", { class: "track", role: "img", "aria-label": words },
      marks, points.map(([place, title, kind]) => element("i", { title, class: kind, style: `left:${100 * place}%` }))));

const axis = (low, high) =>
  strip("", `from ${low} to ${high}`, [], ...[0, 0.5, 1].map((share) =>
    element("b", { style: `left:${100 * share}%` }, String(Number((low + share * (high - low)).toPrecision(4))))));

function showRun(run) {
  const measure = run.measures[at("measure").selectedIndex];
  at("rows").textContent = `${run.dataset}. ${run.rows.join("; ")}.`;
  at("note").textContent = run.note;
  at("faces").replaceChildren(...run.pictures.map((picture) => face(run, measure, picture)));
  showPoints(measure);
  at("numbers").replaceChildren(table(["case", "mean", ...measure.structures], measure.cases.map((name, place) =>
    [name, measure.means[place], ...measure.values.map((values) => values[place])])));
}

function face(run, measure, picture) {
  const mean = measure.means[measure.cases.indexOf(picture.case)] ?? null;
  const facts = [picture.place, `${measure.metric} ${text(mean)}`, picture.slice !== null && `slice ${picture.slice}`,
    !picture.predicted && "no prediction"].filter(Boolean).join(", ");
  const alt = `${picture.case}: outlines of reference${picture.predicted ? " and prediction" : ""}`;
  const button = element("button", { type: "button", class: "face", "aria-pressed": String(chosen === picture.case) },
    element("img", { src: picture.image, alt }), element("strong", {}, picture.case), ` ${facts}`);
  button.addEventListener("click", () => {
    chosen = chosen === picture.case ? null : picture.case;
    for (const other of at("faces").children) other.setAttribute("aria-pressed", String(other === button && chosen !== null));
    showPoints(measure);
  });
  return button;
}

function showPoints(measure) {
  const numbers = [...measure.values.flat(), ...measure.means].filter(finite);
  const high = Math.max(1, ...numbers);
  const kinds = measure.cases.map((name) => [name === measure.worst && "worst", name === measure.best && "best",
    name === chosen && "chosen"].filter(Boolean).join(" "));
  const line = (name, values) => {
    const points = measure.cases.map((one, place) => [one, values[place], kinds[place]]).filter(([, value]) => value !== null);
    const drawn = points.map(([one, value, kind]) => [finite(value) ? value / high : 1, `${one}: ${value}`, kind]);
    const least = points.filter(([, value]) => finite(value)).sort((one, other) => one[1] - other[1]);
    const ends = least.length ? `, from ${least[0][1]} (${least[0][0]}) to ${least.at(-1)[1]} (${least.at(-1)[0]})` : "";
    return strip(name, `${name}: ${points.length} of ${measure.cases.length} cases have a value${ends}`, drawn);
  };
  at("points").replaceChildren(axis(0, high), line("mean over structures", measure.means),
    ...measure.structures.map((name, place) => line(name.replaceAll("_", " "), measure.values[place])));
}

function showPair(entry, first, second) {
  const pair = entry.pairs.find((one) => [one.first, one.second].every((name) => name === first || name === second));
  at("verdict").textContent = pair ? verdict(entry, pair) : "Choose two rows that differ.";
  if (!pair) return at("differences").replaceChildren(), at("compared").replaceChildren();
  const [left, right] = [entry.rows[pair.first], entry.rows[pair.second]];
  const both = entry.cases.map((name, place) => [name, left[place], right[place]]).filter(([, a, b]) => finite(a) && finite(b));
  const reach = Math.max(...both.map(([, a, b]) => Math.abs(a - b)), 0) || 1;
  const points = both.map(([name, a, b]) => [0.5 + (a - b) / reach / 2, `${name}: ${a} and ${b}`, ""]);
  at("differences").replaceChildren(axis(-reach, reach),
    strip(`${pair.first} minus ${pair.second}`, at("verdict").textContent, points, element("u", { style: "left:50%" })));
  at("compared").replaceChildren(table(["case", pair.first, pair.second],
    entry.cases.map((name, place) => [name, left[place], right[place]])));
}

const verdict = (entry, pair) =>
  `${pair.first} minus ${pair.second}, ${entry.column}: ${text(pair.difference)}${entry.unit === "%" ? " points" : ""}, 95 % ` +
  `interval ${text(pair.lower)} to ${text(pair.upper)}, over ${pair.n} cases; higher in a share of ${text(pair.higher)} of ` +
  `them${entry.better === "lower" ? " (lower is better)" : ""}. Wilcoxon p = ${text(pair.wilcoxon)} (Holm: ` +
  `${text(pair.wilcoxon_holm)}), permutation p = ${text(pair.permutation)} (Holm: ${text(pair.permutation_holm)}); Cohen's dz ` +
  `${text(pair.cohen_dz)}, rank-biserial ${text(pair.rank_biserial)}.${pair.note && ` (${pair.note})`}`;

function showTable() {
  const entry = tables[at("table").selectedIndex];
  const names = Object.keys(entry.rows);
  options(at("first"), names);
  options(at("second"), names);
  at("second").selectedIndex = 1;
  at("pairs").replaceChildren(table(["first minus second", "n", "difference", "lower", "upper", "Wilcoxon p", "Holm",
    "permutation p", "Holm", "dz", "rank-biserial"], entry.pairs.map((pair) => [`${pair.first} minus ${pair.second}`, pair.n,
    pair.difference, pair.lower, pair.upper, pair.wilcoxon, pair.wilcoxon_holm, pair.permutation, pair.permutation_holm,
    pair.cohen_dz, pair.rank_biserial])));
  showPair(entry, ...names);
}

if (runs.length) {
  const choose = (run) => {
    at("run").value = run.run;
    chosen = null;
    at("measure").replaceChildren(...run.measures.map((one) => element("option", {}, `${one.metric} (${one.convention})`)));
    showRun(run);
  };
  const current = () => runs[at("run").selectedIndex];
  at("run").addEventListener("change", () => (location.hash = page.address("cases", at("run").value)));
  at("measure").addEventListener("change", () => showRun(current()));
  part.addEventListener("shown", ({ detail: { names } }) => {
    choose(runs.find((run) => run.run === names[0]) ?? current());
    if (names.length) document.getElementById("cases-one").scrollIntoView();
  });
}
if (tables.length) {
  at("table").addEventListener("change", showTable);
  for (const name of ["first", "second"])
    at(name).addEventListener("change", () =>
      showPair(tables[at("table").selectedIndex], at("first").value, at("second").value));
  showTable();
}
