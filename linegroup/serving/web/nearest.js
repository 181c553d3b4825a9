/** Which line is at a place: pieces of all lines in a grid of square cells. */

import { curvesOf } from "./lines.js";

const CELL = 16;

/** @param {Array<{id: number, record: object}>} lines */
export function createIndex(lines, width, height) {
  const columns = Math.ceil(width / CELL) + 1;
  const rows = Math.ceil(height / CELL) + 1;
  const cells = new Map();
  const pieces = []; // id, x0, y0, x1, y1 of each

  const put = (column, row, piece) => {
    const key = row * columns + column;
    const cell = cells.get(key);
    if (cell) cell.push(piece);
    else cells.set(key, [piece]);
  };
  const cellOf = (value, count) => Math.min(Math.max(Math.floor(value / CELL), 0), count - 1);

  for (const { id, record } of lines) {
    for (const curve of curvesOf(record)) {
      for (let i = curve.length > 1 ? 1 : 0; i < curve.length; i++) {
        const [x0, y0] = curve[Math.max(0, i - 1)];
        const [x1, y1] = curve[i];
        const piece = pieces.push(id, x0, y0, x1, y1) - 5;
        const left = cellOf(Math.min(x0, x1), columns),
          right = cellOf(Math.max(x0, x1), columns);
        const top = cellOf(Math.min(y0, y1), rows),
          bottom = cellOf(Math.max(y0, y1), rows);
        for (let row = top; row <= bottom; row++)
          for (let column = left; column <= right; column++) put(column, row, piece);
      }
    }
  }

  return {
    /** Number of the nearest line within `reach` pixels of (x, y) for which `counts(id)`; null: none. */
    at(x, y, reach, counts) {
      let best = null;
      let least = reach * reach;
      for (let row = cellOf(y - reach, rows); row <= cellOf(y + reach, rows); row++) {
        for (let column = cellOf(x - reach, columns); column <= cellOf(x + reach, columns); column++) {
          for (const piece of cells.get(row * columns + column) ?? []) {
            const far = distance(pieces, piece, x, y);
            if (far <= least && counts(pieces[piece])) [best, least] = [pieces[piece], far];
          }
        }
      }
      return best;
    },
  };
}

/** Squared distance of (x, y) from a piece. */
function distance(pieces, at, x, y) {
  const x0 = pieces[at + 1],
    y0 = pieces[at + 2];
  const dx = pieces[at + 3] - x0,
    dy = pieces[at + 4] - y0;
  const along = dx * dx + dy * dy;
  const t = along ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / along)) : 0;
  return (x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2;
}
