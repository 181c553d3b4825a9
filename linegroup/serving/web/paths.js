/** Lines as paths to stroke: at each zoom only as many points as can be told apart, in pieces with a box each. */

import { curvesOf } from "./lines.js";

const LEAST = 1; // px on the screen, at most, between points that are drawn
const STEPS = 2; // levels per doubling of the scale
const PIECE = 256; // points
const made = new WeakMap(); // record of a line -> Map from level to pieces

/**
 * @param {object} record a line as the service gave it
 * @param {number} scale at which it is to be drawn
 * @returns {Array<{path: Path2D, points: number, box: number[]}>} in pixel-corner coordinates of the picture
 */
export function piecesOf(record, scale) {
  const level = Math.max(Math.floor(-STEPS * Math.log2(scale)), -8);
  let levels = made.get(record);
  if (!levels) made.set(record, (levels = new Map()));
  if (!levels.has(level)) levels.set(level, trace(record, LEAST * 2 ** (level / STEPS)));
  return levels.get(level);
}

function trace(record, least) {
  const pieces = [];
  for (const curve of curvesOf(record)) {
    const kept = thinned(curve, least);
    // A dot is a line of almost no length, which round ends make visible.
    if (kept.length === 1) kept.push([kept[0][0] + 0.01, kept[0][1]]);
    for (let start = 0; start < kept.length - 1; start += PIECE)
      pieces.push(piece(kept.slice(start, start + PIECE + 1)));
  }
  return pieces;
}

/** Without points that lie within `least` of the one kept before; both ends stay. */
function thinned(curve, least) {
  let last = curve[0];
  const kept = [last];
  for (let i = 1; i < curve.length; i++) {
    const near = Math.abs(curve[i][0] - last[0]) < least && Math.abs(curve[i][1] - last[1]) < least;
    if (near && i < curve.length - 1) continue;
    kept.push((last = curve[i]));
  }
  return kept;
}

function piece(points) {
  const path = new Path2D();
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  points.forEach(([x, y], k) => {
    if (k) path.lineTo(x + 0.5, y + 0.5);
    else path.moveTo(x + 0.5, y + 0.5);
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  });
  return { path, points: points.length, box };
}
