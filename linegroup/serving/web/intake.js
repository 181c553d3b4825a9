/** Pictures come in by choosing, dropping and pasting. */

import { find } from "./elements.js";
import { isBusy } from "./state.js";

export function listenToIntake(store, actions) {
  const chooser = find("#file");
  for (const button of document.querySelectorAll("[data-open]"))
    button.addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    actions.open(chooser.files[0]);
    chooser.value = ""; // the same file may be chosen again
  });
  find("#example").addEventListener("click", async () => {
    const answer = await fetch("web/example.png").catch(() => null);
    if (!answer?.ok) return actions.say("The example cannot be fetched from the service.");
    actions.open(new File([await answer.blob()], "example.png", { type: "image/png" }));
  });

  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (!file) return;
    event.preventDefault();
    actions.open(file);
  });

  // Entering a child leaves its parent: count, to know when the pointer has left the page.
  let inside = 0;
  const over = (on) => document.body.classList.toggle("dropping", on);
  const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (holdsFile(event)) over(++inside > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (holdsFile(event)) over((inside = Math.max(0, inside - 1)) > 0);
  });
  document.addEventListener("dragover", (event) => {
    if (holdsFile(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    over((inside = 0) > 0);
    if (!holdsFile(event)) return;
    event.preventDefault();
    const { files } = event.dataTransfer;
    actions.open(files[0]);
    if (files.length > 1) actions.say("Only the first of these files is shown.");
  });

  store.on(["picture", "document", "run"], ({ picture, document: answer, run }) => {
    // A file that is no picture leaves nothing to see.
    const something = Boolean(picture && (picture.bitmap || answer || isBusy(run)));
    find("#empty").hidden = something;
    document.body.classList.toggle("blank", !something);
    find("#picture-name").textContent = picture ? picture.name : "";
    find("#picture-name").title = picture ? picture.name : "";
  });
}
