/** The form of the grouping settings. What is not touched stays as the model has it. */

import { find, make } from "./elements.js";
import { PARAMETERS } from "./parameters.js";
import { isBusy, ownSettings } from "./state.js";

export function createSettings(store, actions) {
  const form = find("#settings");
  const fields = PARAMETERS.map((parameter) => createField(parameter, actions));
  find("#parameters").append(...fields.map((field) => field.element));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form.reportValidity()) actions.run();
  });
  find("#forget").addEventListener("click", () => actions.forgetChanges());

  store.on(["changes", "info", "document", "picture", "run"], ({ changes, info, document, picture, run }) => {
    const current = { ...ownSettings({ info, document }), ...changes };
    for (const field of fields) field.update(current, (name) => Object.hasOwn(changes, name), run.error);
    find("#again").disabled = !picture || isBusy(run);
    find("#forget").disabled = !Object.keys(changes).length;
  });
}

function createField(parameter, actions) {
  const { name, label, choices, toggle, offered = () => true } = parameter;
  const id = `set-${name}`;
  const input = choices
    ? make("select", { id }, ...Object.entries(choices).map(([value, text]) => make("option", { value }, text)))
    : toggle
      ? make("input", { id, type: "checkbox" })
      : make("input", {
          id,
          type: "number",
          min: parameter.min ?? "",
          max: parameter.max ?? "",
          step: "any",
          inputMode: "decimal",
        });
  const problem = make("span", { class: "problem", id: `${id}-problem` });
  const element = make(
    "div",
    { class: toggle ? "field toggle" : "field" },
    make("label", { for: id }, label),
    input,
    problem,
  );
  input.name = name;
  input.setAttribute("aria-describedby", problem.id);

  if (!choices && !toggle) listenToArrows(input, parameter.step);
  input.addEventListener(choices || toggle ? "change" : "input", () => {
    if (toggle) actions.change(name, input.checked);
    else if (choices) actions.change(name, input.value);
    else actions.change(name, input.value === "" ? null : input.validity.valid ? Number(input.value) : input.value);
  });

  return {
    element,
    update(current, changed, error) {
      element.hidden = !offered(current);
      element.classList.toggle("changed", changed(name));
      show(input, current[name], choices);
      const wrong = error && sameField(error.field, name);
      problem.textContent = wrong ? error.text : "";
      input.setAttribute("aria-invalid", wrong ? "true" : "false");
      input.disabled = element.hidden;
    },
  };
}

function show(input, value, choices) {
  if (input.type === "checkbox") input.checked = Boolean(value);
  else if (document.activeElement !== input || choices) {
    // A method of the model that the page does not know is shown by its name.
    if (choices && value !== undefined && ![...input.options].some((option) => option.value === value)) {
      input.append(make("option", { value }, String(value)));
    }
    input.value = value ?? "";
  }
}

/** The browser's own steps start at the least value: 1.001, 1.051, … Ours keep round numbers. */
function listenToArrows(input, step) {
  input.addEventListener("keydown", (event) => {
    const by = { ArrowUp: step, ArrowDown: -step }[event.key];
    if (!by) return;
    event.preventDefault();
    const least = input.min === "" ? -Infinity : Number(input.min);
    const most = input.max === "" ? Infinity : Number(input.max);
    const next = Math.min(Math.max(Number(input.value) + by, least), most);
    input.value = Number(next.toPrecision(6));
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

const sameField = (given, name) =>
  [name, { method: "clustering_method", candidates: "candidate_method" }[name]].includes(given?.split(".").pop());
