// What the pages share. Each has two functions: draw(recipe), which returns {lineWidth} in CSS pixels, and
// isolate(number), which leaves one line in black on white; both may return milliseconds to wait.

const DASHES = { solid: [], dash: [6, 4], dot: [2, 3], dashdot: [8, 3, 2, 3], longdash: [12, 5] };

// Colours of the page: what a marker is filled with in one of these is a hole in the line.
let pageColors = ["#ffffff"];

function channels(color) {
  if (!color || color === "none" || color === "transparent") return null;
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = color;
  const text = context.fillStyle;
  if (text[0] === "#") return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return text.match(/[\d.]+/g).map(Number);
}

function isPageColor(color) {
  const ours = channels(color);
  if (!ours) return false;
  return pageColors.some((other) => {
    const theirs = channels(other);
    return [0, 1, 2].reduce((sum, at) => sum + Math.abs(ours[at] - theirs[at]), 0) < 4;
  });
}

/** An empty page of this colour. */
function reset(background) {
  document.body.innerHTML = "";
  document.documentElement.removeAttribute("style");
  document.body.style.cssText = `margin:0;background:${background}`;
}

/** A new element of the chart's size. */
function addBox(recipe) {
  const box = document.createElement("div");
  box.style.cssText = `width:${recipe.width}px;height:${recipe.height}px;position:relative`;
  document.body.appendChild(box);
  return box;
}

/** One of the options, as the theme has it. */
function choose(recipe, ...options) {
  return options[recipe.theme % options.length];
}

function setImportant(element, styles) {
  for (const [name, value] of Object.entries(styles)) element.style.setProperty(name, value, "important");
}

function inkOf(paint, opacity) {
  if (paint === "none" || /rgba.*,\s*0\)$/.test(paint) || +opacity === 0) return "none";
  return isPageColor(paint) ? "#fff" : "#000";
}

function isolateElement(element, number) {
  const data = element.dataset;
  if (data.line === undefined) return setImportant(element, { visibility: "hidden" });
  if (data.line !== String(number)) return setImportant(element, { visibility: "hidden" });
  if (!data.fill) {
    // Before anything is changed: later the computed style would be ours.
    const style = getComputedStyle(element);
    data.fill = data.role === "line" ? "none" : inkOf(style.fill, style.fillOpacity);
    data.stroke = inkOf(style.stroke, style.strokeOpacity);
  }
  const opaque = { "fill-opacity": "1", "stroke-opacity": "1" };
  setImportant(element, { visibility: "visible", fill: data.fill, stroke: data.stroke, ...opaque });
}

/** For SVG: elements of a line carry its number in data-line, its stroke data-role="line" besides. */
function isolateSvg(number) {
  for (const element of [document.documentElement, document.body]) setImportant(element, { background: "#fff" });
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.style) continue;
    if (element.closest("defs,clipPath,mask,pattern,marker,script,style")) {
      if (element.closest("clipPath")) setImportant(element, { visibility: "visible" });
      continue;
    }
    setImportant(element, { transition: "none" });
    isolateElement(element, number);
    const plain = { opacity: "1", filter: "none", "mix-blend-mode": "normal", background: "transparent" };
    setImportant(element, plain);
  }
}

function strokeWidth(element) {
  return parseFloat(getComputedStyle(element).strokeWidth);
}
