/** The picture with its lines: canvases one over the other, so that hovering redraws no other line. */

import { drawInk, drawLines, drawPicture, drawTop, isMuch } from "./drawing.js";
import { createIndex } from "./nearest.js";
import { createSheet, prepare } from "./sheet.js";
import { fit, toPicture } from "./view.js";

const REACH = 9; // px from a line that still point at it

/**
 * @param {object} store
 * @param {HTMLElement} frame holds the canvases
 */
export function createStage(store, frame) {
  const [picture, front, back, top] = frame.querySelectorAll("canvas");
  const sheet = createSheet(front, back);
  let view = { scale: 1, x: 0, y: 0 };
  let fitted = true;
  let index = null; // of all lines, made when the pointer first asks
  let ink = null; // canvas with their pixels, made when these are shown
  const stale = new Set();
  const watchers = new Set();

  const size = () => store.state.document?.image ?? store.state.picture?.bitmap ?? { width: 1, height: 1 };
  const room = () => ({ width: frame.clientWidth, height: frame.clientHeight });

  const DRAWERS = {
    picture: () => drawPicture(prepare(picture.getContext("2d"), view), view, store.state),
    lines: () =>
      sheet.draw(view, isMuch(store.state), (context) =>
        drawLines(context, view, room(), store.state, () => (ink ??= drawInk(store.state, size()))),
      ),
    top: () => drawTop(prepare(top.getContext("2d"), view), view, room(), store.state),
  };

  function draw(...names) {
    if (!stale.size) {
      requestAnimationFrame(() => {
        const names = [...stale];
        // Before anything is drawn: one that fails must not be the last.
        stale.clear();
        for (const name of names) {
          try {
            DRAWERS[name]();
          } catch (error) {
            reportError(error);
          }
        }
      });
    }
    for (const name of names) stale.add(name);
  }

  const stage = {
    frame,
    size,
    room,
    get view() {
      return view;
    },

    /** Moves the picture; `whole`: it is to stay fitted when the frame changes. */
    moveTo(next, whole = false) {
      view = next;
      fitted = whole;
      Object.assign(frame.dataset, { scale: view.scale, left: view.x, top: view.y });
      frame.classList.toggle("fitted", whole);
      sheet.follow(view);
      draw("picture", "lines", "top");
      for (const watcher of watchers) watcher(view);
    },
    fit() {
      stage.moveTo(fit(size(), room()), true);
    },
    onMove(watcher) {
      watchers.add(watcher);
      watcher(view);
    },

    /** Number of the shown line at a place in the frame, or null. */
    lineAt(px, py) {
      const { lines } = store.state;
      if (!lines.length) return null;
      index ??= createIndex(lines, size().width, size().height);
      const shown = new Set(lines.filter((line) => line.visible).map((line) => line.id));
      const [x, y] = toPicture(view, px, py);
      return index.at(x, y, REACH / view.scale, (id) => shown.has(id));
    },
  };

  new ResizeObserver(() => {
    const dense = window.devicePixelRatio || 1;
    const { width, height } = room();
    for (const canvas of [picture, front, back, top]) {
      Object.assign(canvas, { width: Math.round(width * dense), height: Math.round(height * dense) });
    }
    stage.moveTo(fitted ? fit(size(), room()) : view, fitted);
  }).observe(frame);

  store.on(["picture"], () => stage.fit());
  store.on(["document"], () => {
    index = null;
    if (fitted) stage.fit();
  });
  store.on(["lines", "look"], () => {
    ink = null;
    draw("picture", "lines", "top");
  });
  store.on(["look", "hovered", "selected"], ({ look, hovered, selected }) => {
    const others = hovered === null && selected === null ? 1 : 0.35;
    for (const canvas of sheet.canvases) canvas.style.opacity = look.lineOpacity * others;
    draw("top");
  });
  return stage;
}
