/** Where the picture lies in its frame: screen = picture · scale + (x, y), in CSS pixels and pixel corners. */

const MARGIN = 16;
const LARGEST_FIT = 4;
const LARGEST = 64;

/** The whole picture, as large as it fits. */
export function fit(size, frame) {
  const room = [frame.width - 2 * MARGIN, frame.height - 2 * MARGIN].map((length) => Math.max(length, 32));
  const scale = Math.min(room[0] / size.width, room[1] / size.height, LARGEST_FIT);
  return centred(size, frame, scale);
}

export function centred(size, frame, scale) {
  return { scale, x: (frame.width - size.width * scale) / 2, y: (frame.height - size.height * scale) / 2 };
}

/** Larger by `factor`, with the place under (px, py) staying there. */
export function zoom(view, factor, px, py, size, frame) {
  const least = Math.min(fit(size, frame).scale / 4, 1);
  const scale = Math.min(Math.max(view.scale * factor, least), LARGEST);
  const by = scale / view.scale;
  return kept({ scale, x: px - (px - view.x) * by, y: py - (py - view.y) * by }, size, frame);
}

export function pan(view, dx, dy, size, frame) {
  return kept({ ...view, x: view.x + dx, y: view.y + dy }, size, frame);
}

/** A part of the picture stays in the frame, wherever it is moved. */
function kept(view, size, frame) {
  const rest = Math.min(80, frame.width / 3, frame.height / 3);
  const x = Math.min(Math.max(view.x, rest - size.width * view.scale), frame.width - rest);
  const y = Math.min(Math.max(view.y, rest - size.height * view.scale), frame.height - rest);
  return { ...view, x, y };
}

/** From the screen to the picture, where pixel centres are integers. */
export function toPicture(view, px, py) {
  return [(px - view.x) / view.scale - 0.5, (py - view.y) / view.scale - 0.5];
}
