"use strict";
// The address names a part of the page and what to show in it: #part/name/name?key=value. The part hears of it by `shown`.
const page = {
  data: (part) => JSON.parse(document.getElementById(`data-${part}`).textContent),

  address: (...names) => `#${names.map(encodeURIComponent).join("/")}`,

  // An element with attributes and children (elements or text); those that are empty are left out.
  element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.flat().filter((child) => child !== "" && child != null));
    return made;
  },

  // A button that copies a text; where the browser forbids that, it selects the text for the reader to copy.
  copier(text, shown) {
    const button = page.element("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(shown);
        button.textContent = "Selected: press Ctrl-C";
      }
    });
    return button;
  },

  download(name, text) {
    const link = page.element("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    URL.revokeObjectURL(link.href);
  },
};

{
  const sections = [...document.querySelectorAll("main > section.part")];

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // an address that somebody cut
    }
  }

  function show() {
    const [path, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
    const names = path.split("/").map(decoded);
    if (names[0] === "main") return;
    const current = sections.find((section) => section.id === names[0]) ?? sections[0];
    const before = sections.find((section) => !section.hidden && section !== current);
    for (const section of sections) section.hidden = section !== current;
    for (const link of document.querySelectorAll("header nav a")) {
      if (link.hash === `#${current.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${current.querySelector("h1").textContent} · Retable`;
    current.dispatchEvent(
      new CustomEvent("shown", { detail: { names: names.slice(1), query: new URLSearchParams(query) } }),
    );
    const named = names.length > 1 && document.getElementById(names.join("/"));
    if (named) named.scrollIntoView();
    else if (before || names.length < 3) scrollTo(0, 0); // behind a cell's panel the table stays where it is
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = () => document.documentElement.classList.toggle("dark", dark.matches); // what DataTables looks at
  dark.addEventListener("change", colour);
  colour();

  for (const input of document.querySelectorAll("input[data-filters]"))
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      for (const item of document.querySelectorAll(input.dataset.filters)) {
        const text = item.textContent.toLowerCase();
        item.hidden = !words.every((word) => text.includes(word));
      }
      for (const group of input.closest("section").querySelectorAll("details")) {
        group.hidden = !group.querySelector(`${input.dataset.filters}:not([hidden])`);
        group.open ||= input.value !== "" && !group.hidden;
      }
    });
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address stays that of the part
    document.getElementById("main").focus();
  });
  addEventListener("hashchange", show);
  addEventListener("DOMContentLoaded", show);
}
