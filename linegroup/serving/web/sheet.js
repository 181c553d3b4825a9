/** Two canvases: one is seen and follows the view at once, the other is drawn behind it, some work a frame. */

const SETTLED = 100; // ms without a move before much is drawn anew
const SLOW = 40; // ms a frame may take before less work is put into one
const LEAST_WORK = 1000;

/**
 * @param {HTMLCanvasElement} front
 * @param {HTMLCanvasElement} back
 */
export function createSheet(front, back) {
  let [seen, next] = [front, back].map((canvas) => canvas.getContext("2d"));
  let seenView = null;
  let job = 0;
  let timer = null;
  let work = 20_000; // what a frame takes, in the unit of the steps

  function run(mine, view, steps) {
    prepare(next, view);
    const iterator = steps(next);
    const slice = () => {
      if (mine !== job) return;
      for (let spent = 0; spent < work;) {
        const { done, value } = iterator.next();
        if (done) return turn(view);
        spent += value;
      }
      const asked = performance.now();
      requestAnimationFrame(() => {
        const took = performance.now() - asked;
        work = took > SLOW ? Math.max(work * 0.7, LEAST_WORK) : work * 1.3;
        slice();
      });
    };
    slice();
  }

  function turn(view) {
    [seen, next] = [next, seen];
    seenView = view;
    seen.canvas.style.transform = "none";
    seen.canvas.style.visibility = "visible";
    next.canvas.style.visibility = "hidden";
    seen.canvas.dataset.layer = "lines";
    seen.canvas.dataset.drawn = `${view.scale} ${view.x} ${view.y}`;
    next.canvas.dataset.layer = "behind";
  }

  return {
    canvases: [front, back],

    /** Where the picture is now, before anything is drawn anew. */
    follow(view) {
      if (!seenView) return;
      const by = view.scale / seenView.scale;
      seen.canvas.style.transform = `matrix(${by},0,0,${by},${view.x - seenView.x * by},${view.y - seenView.y * by})`;
    },

    /**
     * Draws for a view.
     * @param {object} view
     * @param {boolean} much whether to wait until nothing has moved for a while
     * @param {function(CanvasRenderingContext2D): Iterator<number>} steps draws and yields how much work that was
     */
    draw(view, much, steps) {
      const mine = ++job;
      clearTimeout(timer);
      if (much) timer = setTimeout(() => run(mine, view, steps), SETTLED);
      else run(mine, view, steps);
    },
  };
}

/** Clears a canvas and sets it to the picture's coordinates. */
export function prepare(context, view) {
  const dense = window.devicePixelRatio || 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.setTransform(dense * view.scale, 0, 0, dense * view.scale, dense * view.x, dense * view.y);
  context.lineCap = context.lineJoin = "round";
  return context;
}
