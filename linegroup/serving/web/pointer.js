/** Mouse, fingers and keys on the picture: move, zoom, point at lines. */

import { pan, zoom } from "./view.js";

const CLICK = 4; // px a pointer may move and still click
const STEP = 1.25;
const FAR = 60;

export function listenToPointer(stage, actions) {
  const { frame } = stage;
  const down = new Map(); // pointers that are pressed, by id: where they are
  let moved = 0;
  let spread = 0;

  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const zoomBy = (factor, [x, y]) => stage.moveTo(zoom(stage.view, factor, x, y, stage.size(), stage.room()));
  const panBy = (dx, dy) => stage.moveTo(pan(stage.view, dx, dy, stage.size(), stage.room()));

  frame.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 32 : 1;
      zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), place(event));
    },
    { passive: false },
  );

  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!down.size) moved = 0;
    down.set(event.pointerId, place(event));
    spread = spreadOf(down);
    frame.setPointerCapture(event.pointerId);
  });

  frame.addEventListener("pointermove", (event) => {
    const at = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") actions.hover(stage.lineAt(...at));
      return;
    }
    down.set(event.pointerId, at);
    const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
    moved += Math.hypot(dx, dy);
    if (moved <= CLICK) return;
    frame.classList.add("moving");
    panBy(dx / down.size, dy / down.size);
    if (down.size === 2) {
      const now = spreadOf(down);
      zoomBy(now / spread, middleOf(down));
      spread = now;
    }
  });

  const lift = (event, clicks) => {
    if (!down.delete(event.pointerId)) return;
    spread = spreadOf(down);
    if (down.size) return;
    frame.classList.remove("moving");
    if (clicks && moved <= CLICK) actions.select(stage.lineAt(...place(event)));
  };
  frame.addEventListener("pointerup", (event) => lift(event, true));
  frame.addEventListener("pointercancel", (event) => lift(event, false));
  frame.addEventListener("pointerleave", () => actions.hover(null));
  frame.addEventListener("dblclick", (event) => zoomBy(event.shiftKey ? 0.5 : 2, place(event)));

  const middle = () => [stage.room().width / 2, stage.room().height / 2];
  const commands = {
    in: () => zoomBy(STEP, middle()),
    out: () => zoomBy(1 / STEP, middle()),
    fit: () => stage.fit(),
    actual: () => zoomBy(1 / stage.view.scale, middle()),
    left: () => panBy(FAR, 0),
    right: () => panBy(-FAR, 0),
    up: () => panBy(0, FAR),
    down: () => panBy(0, -FAR),
  };
  const KEYS = {
    "+": "in",
    "=": "in",
    "-": "out",
    _: "out",
    0: "fit",
    1: "actual",
    ArrowLeft: "left",
    ArrowRight: "right",
    ArrowUp: "up",
    ArrowDown: "down",
  };
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") actions.select(null);
    const command = commands[KEYS[event.key]];
    if (!command) return;
    event.preventDefault();
    command();
  });
  return commands;
}

function spreadOf(down) {
  const [a, b] = [...down.values()];
  return b ? Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])) : 1;
}

function middleOf(down) {
  const [a, b] = [...down.values()];
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
}
