/** What is going on: progress, what went wrong, what was done. */

import { find } from "./elements.js";

const SAID_FOR = 5000;

export function createNotice(store, actions) {
  const progress = find("#progress");
  const problem = find("#problem");
  const bar = find("#bar");
  let timer = null;

  find("#cancel").addEventListener("click", () => actions.cancel());
  find("#try-again").addEventListener("click", () => actions.run());
  find("#dismiss").addEventListener("click", () => actions.dismiss());

  const PHRASES = {
    sending: ({ fraction }) => `Sending the picture${fraction ? ` (${Math.round(100 * fraction)} %)` : ""}…`,
    working: ({ started }) => `Finding lines… ${((performance.now() - started) / 1000).toFixed(1)} s`,
    waiting: ({ retryAt }) =>
      `The service is busy. Trying again in ${Math.max(0, Math.ceil((retryAt - performance.now()) / 1000))} s…`,
  };

  function tell() {
    const { run } = store.state;
    const phrase = PHRASES[run.phase];
    if (phrase) find("#progress-text").textContent = phrase(run);
  }

  store.on(["run"], ({ run }) => {
    const busy = run.phase in PHRASES;
    progress.hidden = !busy;
    document.body.classList.toggle("busy", busy);
    if (run.phase === "sending" && run.fraction) bar.value = run.fraction;
    else bar.removeAttribute("value");
    clearInterval(timer);
    if (busy) timer = setInterval(tell, 100);
    tell();

    problem.hidden = run.phase !== "failed";
    if (problem.hidden) return;
    find("#problem-title").textContent = run.error.title;
    find("#problem-text").textContent = run.error.text;
    find("#problem-id").textContent = run.error.requestId ? `Request ${run.error.requestId}` : "";
    find("#try-again").hidden = run.error.again === null;
  });

  let fading = null;
  store.on(["said"], ({ said }) => {
    const status = find("#said");
    clearTimeout(fading);
    status.textContent = said;
    if (said) fading = setTimeout(() => (status.textContent = ""), SAID_FOR);
  });
  store.on(["run"], ({ run }) => {
    // Spoken once a step, not ten times a second.
    find("#spoken").textContent =
      {
        sending: "Sending the picture.",
        working: "Finding lines.",
        waiting: "The service is busy; it will be tried again.",
      }[run.phase] ?? "";
  });
}
