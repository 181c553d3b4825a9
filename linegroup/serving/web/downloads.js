/** The buttons that hand out files. */

import { find, make } from "./elements.js";
import { FORMATS } from "./formats.js";

export function createDownloads(store, actions) {
  const buttons = Object.entries(FORMATS).map(([format, { label, about }]) => {
    const button = make(
      "button",
      { type: "button", class: "format" },
      make("strong", {}, label),
      make("span", {}, about),
    );
    button.dataset.format = format;
    button.addEventListener("click", () => actions.save(format));
    return button;
  });
  find("#formats").append(...buttons);
  store.on(["document", "saving"], ({ document, saving }) => {
    find("#no-downloads").hidden = Boolean(document);
    for (const button of buttons) {
      button.disabled = !document || (saving !== null && saving !== button.dataset.format);
      button.setAttribute("aria-busy", saving === button.dataset.format ? "true" : "false");
    }
  });
}
