/** The list of lines: a row each, made once per answer and then only brought up to date. */

import { find, icon, make } from "./elements.js";
import { calledName, shownColour } from "./lines.js";

const number = new Intl.NumberFormat("en");

export function createList(store, actions) {
  const list = find("#lines");
  const all = find("#show-all");
  let rows = new Map();

  all.addEventListener("change", () => actions.showAll(all.checked));

  store.on(["document"], () => {
    rows = new Map(store.state.lines.map((line) => [line.id, createRow(line, actions)]));
    list.replaceChildren(...[...rows.values()].map((row) => row.element));
    list.scrollTop = 0;
  });

  store.on(["lines", "look"], ({ lines, look }) => {
    for (const line of lines) rows.get(line.id)?.update(line, shownColour(line, look));
    const shown = lines.filter((line) => line.visible).length;
    all.checked = shown > 0 && shown === lines.length;
    all.indeterminate = shown > 0 && shown < lines.length;
    all.disabled = !lines.length;
    find("#line-count").textContent = !lines.length
      ? ""
      : shown === lines.length
        ? `${lines.length} ${lines.length === 1 ? "line" : "lines"}`
        : `${shown} of ${lines.length}`;
  });

  store.on(["document", "run"], ({ document, lines }) => {
    find("#no-lines").hidden = Boolean(lines.length);
    find("#no-lines").textContent = document
      ? "No lines were found. Other pixels or another method may find some: see Settings."
      : "The lines of a picture will be listed here.";
  });

  let lit = [];
  store.on(["hovered", "selected", "document"], ({ hovered, selected }) => {
    for (const row of lit) row.element.classList.remove("hovered", "selected");
    lit = [rows.get(hovered), rows.get(selected)].filter(Boolean);
    rows.get(hovered)?.element.classList.add("hovered");
    rows.get(selected)?.element.classList.add("selected");
  });
  store.on(["selected"], ({ selected }) => reveal(list, rows.get(selected)?.element));
  store.on(["hovered"], ({ hovered }) => {
    if (!list.matches(":hover, :focus-within")) reveal(list, rows.get(hovered)?.element);
  });

  listenToKeys(list);
}

function createRow(line, actions) {
  const { id } = line;
  const box = make("input", { type: "checkbox", class: "eye" });
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  const name = make("input", {
    type: "text",
    class: "name",
    placeholder: `Line ${id}`,
    "aria-label": `Name of line ${id}`,
    maxLength: 200,
    autocomplete: "off",
    spellcheck: false,
  });
  const facts = `${number.format(Math.round(line.length))} px long · ${number.format(line.pixels)} pixels`;
  const only = make("button", { type: "button", class: "only", title: "Show only this line" }, icon("only"));
  const element = make(
    "li",
    { class: "row" },
    make("label", { class: "tick" }, box, swatch),
    make("div", { class: "what" }, name, make("span", { class: "facts" }, facts)),
    only,
  );
  element.dataset.line = id;

  box.addEventListener("change", () => actions.show(id, box.checked));
  only.addEventListener("click", () => actions.showOnly(id));
  name.addEventListener("input", () => actions.rename(id, name.value));
  name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
  element.addEventListener("pointerenter", () => actions.hover(id));
  element.addEventListener("pointerleave", () => actions.hover(null));
  element.addEventListener("focusin", () => actions.hover(id));
  element.addEventListener("focusout", () => actions.hover(null));
  element.addEventListener("click", (event) => {
    if (!event.target.closest("input, button, label")) actions.toggle(id);
  });

  return {
    element,
    update(current, colour) {
      box.checked = current.visible;
      box.setAttribute("aria-label", `Show ${calledName(current)}`);
      only.setAttribute("aria-label", `Show only ${calledName(current)}`);
      swatch.style.backgroundColor = colour;
      if (name.value !== current.name) name.value = current.name;
      element.classList.toggle("hidden-line", !current.visible);
    },
  };
}

/** Up and down go to the same control of the next row. */
function listenToKeys(list) {
  const step = { ArrowDown: 1, ArrowUp: -1 };
  list.addEventListener("keydown", (event) => {
    if (!step[event.key]) return;
    const row = event.target.closest(".row");
    const next = step[event.key] > 0 ? row?.nextElementSibling : row?.previousElementSibling;
    if (!next) return;
    event.preventDefault();
    next.querySelector(`.${event.target.classList[0]}`)?.focus();
  });
}

/** Scrolls the list alone, never the page. */
function reveal(list, row) {
  if (!row || list.scrollHeight <= list.clientHeight) return;
  const above = row.offsetTop - list.scrollTop;
  if (above < 0) list.scrollTop = row.offsetTop;
  else if (above + row.offsetHeight > list.clientHeight)
    list.scrollTop = row.offsetTop + row.offsetHeight - list.clientHeight;
}
