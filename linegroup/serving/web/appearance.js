/** How lines and picture look, and the buttons that zoom. */

import { find } from "./elements.js";

export function createAppearance(store, actions, stage, commands) {
  const strokes = find("#show-strokes");
  const pixels = find("#show-pixels");
  const lineOpacity = find("#line-opacity");
  const pictureOpacity = find("#picture-opacity");
  const colours = find("#colours");

  strokes.addEventListener("change", () => actions.look({ strokes: strokes.checked }));
  pixels.addEventListener("change", () => actions.look({ pixels: pixels.checked }));
  lineOpacity.addEventListener("input", () => actions.look({ lineOpacity: lineOpacity.valueAsNumber / 100 }));
  pictureOpacity.addEventListener("input", () => actions.look({ pictureOpacity: pictureOpacity.valueAsNumber / 100 }));
  colours.addEventListener("change", () => actions.look({ colours: colours.value }));

  store.on(["look"], ({ look }) => {
    strokes.checked = look.strokes;
    pixels.checked = look.pixels;
    lineOpacity.value = Math.round(100 * look.lineOpacity);
    pictureOpacity.value = Math.round(100 * look.pictureOpacity);
    colours.value = look.colours;
  });

  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => commands[button.dataset.zoom]());
  }
  stage.onMove(({ scale }) => {
    find("#zoom-level").textContent = `${Math.round(100 * scale)} %`;
  });
}
