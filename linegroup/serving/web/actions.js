/** Everything that can be done on the page. Nothing else changes the state. */

import { ApiError, exportLines, findLines, modelInfo } from "./api.js";
import { describe } from "./errors.js";
import { FORMATS } from "./formats.js";
import { linesOf, toDocument } from "./lines.js";
import { inForce } from "./parameters.js";
import { IDLE, ownSettings } from "./state.js";

const TRIES_WHEN_BUSY = 4;

export function createActions(store) {
  let running = null; // AbortController of the run in progress
  let turn = 0; // number of the latest run: answers to earlier ones are thrown away

  const look = (changes) => store.set({ look: Object.freeze({ ...store.state.look, ...changes }) });
  const runIs = (changes) => store.set({ run: Object.freeze({ ...store.state.run, ...changes }) });
  const changeLines = (change) => store.set({ lines: store.state.lines.map(change) });

  const actions = {
    look,

    async learnModel() {
      try {
        store.set({ info: await modelInfo() });
      } catch {
        // The page works without; settings then show no values of the model until a picture is done.
      }
    },

    /** Takes a picture and finds its lines. */
    async open(file) {
      if (!file) return;
      running?.abort();
      const mine = ++turn;
      const bitmap = await createImageBitmap(file).catch(() => null);
      if (mine !== turn) return;
      store.state.picture?.bitmap?.close();
      const name = file.name || "pasted.png";
      store.set({ picture: { file, name, bitmap }, document: null, lines: [], hovered: null, selected: null });
      await actions.run();
    },

    /** Finds the lines of the picture with the settings as they are. */
    async run() {
      const { picture, changes } = store.state;
      if (!picture) return;
      const asked = inForce(changes, ownSettings(store.state));
      running?.abort();
      const mine = ++turn;
      const abort = (running = new AbortController());
      store.set({ run: Object.freeze({ ...IDLE, phase: "sending", started: performance.now() }), said: "" });
      const onUpload = (fraction) => {
        if (mine === turn) runIs({ phase: fraction < 1 ? "sending" : "working", fraction });
      };
      try {
        const document = await whenFree(
          () => findLines(picture, asked, { signal: abort.signal, onUpload }),
          abort.signal,
          mine,
        );
        if (mine !== turn) return;
        const lines = linesOf(document);
        const seconds = ((performance.now() - store.state.run.started) / 1000).toFixed(1);
        store.set({
          document,
          asked,
          lines,
          hovered: null,
          selected: null,
          run: Object.freeze({ ...IDLE, phase: "done" }),
        });
        actions.say(`${lines.length} ${lines.length === 1 ? "line" : "lines"} found in ${seconds} s.`);
      } catch (error) {
        if (mine !== turn) return;
        if (error.name === "AbortError")
          store.set({ run: Object.freeze({ ...IDLE, phase: store.state.document ? "done" : "idle" }) });
        else runIs({ phase: "failed", error: describe(error) });
      }
    },

    cancel() {
      running?.abort();
    },

    dismiss() {
      store.set({ run: Object.freeze({ ...IDLE, phase: store.state.document ? "done" : "idle" }) });
    },

    say(said) {
      store.set({ said: "" });
      store.set({ said });
    },

    // Lines
    hover(id) {
      store.set({ hovered: id });
    },
    toggle(id) {
      store.set({ selected: store.state.selected === id ? null : id });
    },
    select(id) {
      store.set({ selected: id });
    },
    show(id, visible) {
      changeLines((line) => (line.id === id ? { ...line, visible } : line));
    },
    showAll(visible) {
      changeLines((line) => ({ ...line, visible }));
    },
    showOnly(id) {
      changeLines((line) => ({ ...line, visible: line.id === id }));
    },
    rename(id, name) {
      changeLines((line) => (line.id === id ? { ...line, name } : line));
    },

    // Settings
    change(name, value) {
      const changes = { ...store.state.changes, [name]: value };
      if (value === null) delete changes[name];
      store.set({ changes });
    },
    forgetChanges() {
      store.set({ changes: {} });
    },

    /** Hands out the lines as a file of a format. */
    async save(format) {
      const { picture, document, asked, lines, saving } = store.state;
      if (!document || saving) return;
      store.set({ saving: format });
      try {
        const file =
          format === "json" ? asFile(toDocument(document, lines)) : await exportLines(format, picture, asked);
        handOut(file, stem(picture.name) + FORMATS[format].suffix);
        actions.say(`${FORMATS[format].label} saved.`);
      } catch (error) {
        runIs({ phase: "failed", error: { ...describe(error), again: null } });
      } finally {
        store.set({ saving: null });
      }
    },
  };

  /** Calls until the service is not too busy, waiting as long as it asks for, some times. */
  async function whenFree(call, signal, mine) {
    for (let tries = 1; ; tries++) {
      try {
        return await call();
      } catch (error) {
        const busy = error instanceof ApiError && error.retryAfter !== null;
        if (!busy || tries >= TRIES_WHEN_BUSY || mine !== turn) throw error;
        runIs({ phase: "waiting", retryAt: performance.now() + 1000 * error.retryAfter, fraction: null });
        await pause(1000 * error.retryAfter, signal);
        runIs({ phase: "sending", fraction: 0 });
      }
    }
  }

  return actions;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}

const asFile = (tree) => new Blob([JSON.stringify(tree)], { type: "application/json" });

function handOut(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const stem = (name) => name.replace(/\.[^.]*$/, "").replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_") || "lines";
