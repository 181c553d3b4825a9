/** Lines of a document as the page handles them, and back. Coordinates: pixels, centres at integers. */

import { colourOf } from "./colours.js";

/**
 * @typedef {object} Line
 * @property {number} id its number in the document
 * @property {string} name what the person calls it; empty: nothing yet
 * @property {boolean} visible
 * @property {string} colour `#rrggbb`, its own on the page
 * @property {string} ink `#rrggbb`, as in the picture
 * @property {number} length along all its parts, in pixels
 * @property {number} pixels that bear its number
 * @property {object} record as the service gave it
 */

/** @returns {Line[]} */
export function linesOf(document) {
  return document.lines.map((record, k) => ({
    id: record.id,
    name: record.name ?? "",
    visible: true,
    colour: colourOf(k),
    ink: record.colour.hex,
    length: lengthOf(record),
    pixels: record.pixel_count,
    record,
  }));
}

/** The document with the names that were given. */
export function toDocument(document, lines) {
  return { ...document, lines: lines.map((line) => ({ ...line.record, name: line.name })) };
}

export const shownColour = (line, look) => (look.colours === "picture" ? line.ink : line.colour);

export const calledName = (line) => line.name || `Line ${line.id}`;

/** The points `[x, y]` of each part; a closed line ends where it begins. */
export function curvesOf(record) {
  const starts = record.parts ?? [0];
  const curves = starts.map((start, k) => record.polyline.slice(start, starts[k + 1] ?? record.polyline.length));
  if (record.closed && curves[0].length > 2) curves[0] = [...curves[0], curves[0][0]];
  return curves;
}

export function lengthOf(record) {
  let length = 0;
  for (const curve of curvesOf(record)) {
    for (let i = 1; i < curve.length; i++)
      length += Math.hypot(curve[i][0] - curve[i - 1][0], curve[i][1] - curve[i - 1][1]);
  }
  return length;
}
