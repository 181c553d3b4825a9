/** Masks as COCO has them: runs without and with ink in turn, column by column, as pycocotools' characters. */

/** The counts of a mask. */
export function countsOf(text) {
  const counts = [];
  let value = 0;
  let shift = 0;
  for (let i = 0; i < text.length; i++) {
    const bits = text.charCodeAt(i) - 48;
    value |= (bits & 31) << shift;
    shift += 5;
    if (bits & 32) continue;
    if (bits & 16 && shift < 32) value -= 2 ** shift;
    counts.push(value + (counts.length > 2 ? counts[counts.length - 2] : 0));
    value = shift = 0;
  }
  return counts;
}

/** How many pixels a mask has. */
export const areaOf = (mask) => countsOf(mask.counts).reduce((sum, count, k) => (k % 2 ? sum + count : sum), 0);

/** Calls `each(x, y)` for every pixel of a mask record `{size: [height, width], counts}`. */
export function eachPixel(mask, each) {
  const height = mask.size[0];
  let at = 0;
  countsOf(mask.counts).forEach((count, k) => {
    if (k % 2) for (let i = at; i < at + count; i++) each(Math.floor(i / height), i % height);
    at += count;
  });
}

/** Paints masks into `data`, the RGBA bytes of a picture `width` wide. */
export function paint(data, width, mask, [red, green, blue]) {
  eachPixel(mask, (x, y) => {
    const at = 4 * (y * width + x);
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
    data[at + 3] = 255;
  });
}
