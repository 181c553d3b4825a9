/** Colours of lines: told apart on white and on black, neighbours in number far apart in hue. */

const FIRST = [
  "#e0245e",
  "#1273de",
  "#12903c",
  "#f17300",
  "#8a2be2",
  "#009fa8",
  "#c218a8",
  "#8f7000",
  "#4a4fd0",
  "#c0392b",
  "#2f9ee8",
  "#6aa300",
];
const GOLDEN = 0.61803398875;

/** The colour of the k-th line, counted from 0. */
export function colourOf(k) {
  if (k < FIRST.length) return FIRST[k];
  const turn = Math.floor(k / FIRST.length);
  return hex(((k * GOLDEN) % 1) * 360, [0.85, 0.65][turn % 2], [0.45, 0.36, 0.55][turn % 3]);
}

/** `[red, green, blue]`, 0..255, of `#rrggbb`. */
export function channels(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

function hex(hue, saturation, lightness) {
  const reach = saturation * Math.min(lightness, 1 - lightness);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return "#" + [0, 8, 4].map((n) => channel(n).toString(16).padStart(2, "0")).join("");
}
