/** What the page knows at its beginning: everything a view may read, nothing of how it is shown. */

/** Steps of a run: idle, sending, working, waiting (the service is busy), done, failed. */
export const IDLE = Object.freeze({ phase: "idle", fraction: null, started: 0, retryAt: 0, error: null });

export const isBusy = (run) => ["sending", "working", "waiting"].includes(run.phase);

export const INITIAL = {
  /** What the service says of its model, once it has answered. */
  info: null,
  /** `{file, name, bitmap}`: the picture; `bitmap` is null where the browser cannot show it. */
  picture: null,
  /** The answer of the service, `linegroup.lines/1`. */
  document: null,
  /** The settings that were changed when it was asked for. */
  asked: {},
  /** The lines as the page shows them; see lines.js. */
  lines: [],
  /** Grouping settings that differ from the model's own, by name. */
  changes: {},
  run: IDLE,
  /** Number of the line below the pointer or the focus, and of the one that was clicked; null: none. */
  hovered: null,
  selected: null,
  /** Format that is being made, or null. */
  saving: null,
  /** A short message that is said and shown for a while. */
  said: "",
  look: Object.freeze({ strokes: true, pixels: false, lineOpacity: 1, pictureOpacity: 0.45, colours: "distinct" }),
};

/** The settings as they are where nothing is changed. */
export const ownSettings = ({ info, document }) => ({ ...document?.parameters, ...info?.parameters });
