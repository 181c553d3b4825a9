/** How the picture, its lines and the one pointed at are drawn; contexts are set to the picture's coordinates. */

import { channels } from "./colours.js";
import { shownColour } from "./lines.js";
import { areaOf, paint } from "./masks.js";
import { piecesOf } from "./paths.js";
import { toPicture } from "./view.js";

const STROKE = 2.25; // CSS px
const BOLD = 4;
const HALO = 8;
const MANY = 20_000; // points, from which on corners are cut: round ones take twice the time

export function drawPicture(context, view, { picture, document, look }) {
  if (!picture || !(document || picture.bitmap)) return;
  const { width, height } = document?.image ?? picture.bitmap;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  if (!picture.bitmap) return;
  context.globalAlpha = look.pictureOpacity;
  context.imageSmoothingEnabled = view.scale < 2;
  context.imageSmoothingQuality = "medium";
  context.drawImage(picture.bitmap, 0, 0, width, height);
  context.globalAlpha = 1;
}

/** Whether the lines are too many to be drawn within a frame. */
export const isMuch = ({ lines }) => lines.reduce((sum, line) => sum + line.record.polyline.length, 0) > MANY;

/** Draws the shown lines and yields the number of points after each. */
export function* drawLines(context, view, frame, { lines, look }, ink) {
  if (look.pixels && lines.length) {
    context.imageSmoothingEnabled = false;
    context.drawImage(ink(), 0, 0);
  }
  if (!look.strokes) return;
  context.lineWidth = STROKE / view.scale;
  const sight = sightOf(view, frame);
  const shown = lines.filter((line) => line.visible);
  if (isMuch({ lines: shown })) context.lineJoin = "bevel";
  for (const line of shown) {
    context.strokeStyle = shownColour(line, look);
    yield stroke(context, line.record, view.scale, sight);
  }
}

/** Draws the lines that are pointed at, over all others. */
export function drawTop(context, view, frame, { lines, look, hovered, selected }) {
  const sight = sightOf(view, frame);
  for (const id of new Set([selected, hovered])) {
    const line = lines.find((each) => each.id === id);
    if (!line) continue;
    for (const [colour, width] of [
      ["#fff", HALO],
      [shownColour(line, look), BOLD],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width / view.scale;
      stroke(context, line.record, view.scale, sight);
    }
  }
}

function stroke(context, record, scale, [left, top, right, bottom]) {
  let points = 1;
  for (const { path, points: count, box } of piecesOf(record, scale)) {
    if (box[0] > right || box[2] < left || box[1] > bottom || box[3] < top) continue;
    context.stroke(path);
    points += count;
  }
  return points;
}

/** The part of the picture that is seen, with room for the width of strokes. */
function sightOf(view, { width, height }) {
  return [...toPicture(view, -HALO, -HALO), ...toPicture(view, width + HALO, height + HALO)];
}

/** A canvas with the pixels of all shown lines, as large as the picture. */
export function drawInk({ lines, look }, { width, height }) {
  const sheet = Object.assign(document.createElement("canvas"), { width, height });
  const context = sheet.getContext("2d");
  const image = context.createImageData(width, height);
  // Small lines come last: they stay on top, as in the label image.
  const shown = lines.filter((line) => line.visible && line.record.mask);
  const areas = new Map(shown.map((line) => [line, areaOf(line.record.mask)]));
  for (const line of shown.sort((a, b) => areas.get(b) - areas.get(a))) {
    paint(image.data, width, line.record.mask, channels(shownColour(line, look)));
  }
  context.putImageData(image, 0, 0);
  return sheet;
}
