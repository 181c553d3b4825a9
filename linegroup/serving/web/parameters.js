/** The grouping settings that the page offers; the service checks them. */

const METHODS = {
  link: "Link strokes",
  dbscan: "DBSCAN",
  hdbscan: "HDBSCAN",
  margin: "Margins of the loss",
  colour: "Colour",
  kmeans: "k-means of colours",
  gmm: "Mixture of colours",
  components: "Connected ink",
};

const CANDIDATES = {
  non_background: "All ink",
  model: "What the model takes for a line",
  non_white: "All that is not white",
  canny: "Edges",
  all_pixels: "All pixels",
};

const embeds = ["dbscan", "hdbscan", "margin"];
const when =
  (name, ...values) =>
  (settings) =>
    values.includes(settings[name]);

/** `offered(settings)`: whether it has any effect with the others as they are. */
export const PARAMETERS = [
  { name: "method", label: "Method", choices: METHODS },
  { name: "candidates", label: "Pixels to group", choices: CANDIDATES },
  {
    name: "foreground_threshold",
    label: "Surer than",
    min: 0,
    max: 1,
    step: 0.05,
    offered: when("candidates", "model"),
  },
  {
    name: "white_threshold",
    label: "Darker than",
    min: 0,
    max: 255,
    step: 1,
    offered: when("candidates", "non_white"),
  },
  { name: "canny_threshold1", label: "Weak edges from", min: 0, step: 10, offered: when("candidates", "canny") },
  { name: "canny_threshold2", label: "Strong edges from", min: 0, step: 10, offered: when("candidates", "canny") },
  { name: "embedding_cost", label: "Weight of the model", min: 0, step: 0.5, offered: when("method", "link") },
  { name: "eps", label: "Radius (eps)", min: 0.001, step: 0.05, offered: when("method", "dbscan") },
  {
    name: "min_samples",
    label: "Neighbours (min_samples)",
    min: 0.0001,
    step: 0.001,
    offered: when("method", "dbscan", "hdbscan"),
  },
  { name: "min_cluster_size", label: "Smallest cluster", min: 0.0001, step: 0.01, offered: when("method", "hdbscan") },
  { name: "bandwidth", label: "Radius of a line", min: 0.001, step: 0.1, offered: when("method", "margin") },
  {
    name: "most_clusters",
    label: "Colours at most",
    min: 1,
    max: 12,
    step: 1,
    offered: when("method", "kmeans", "gmm"),
  },
  { name: "use_spatial", label: "Positions count, too", toggle: true, offered: when("method", ...embeds) },
  {
    name: "spatial_weight",
    label: "Weight of positions",
    min: 0,
    step: 0.005,
    offered: (s) => Boolean(s.use_spatial) && embeds.includes(s.method),
  },
  { name: "min_pixels", label: "Fewest pixels of a line", min: 1, step: 1 },
  { name: "noise", label: "Pixels left over", choices: { assign: "Join a line", drop: "Stay out" } },
];

/** The changes that have any effect; those of fields that are not shown stay with the page. */
export function inForce(changes, own) {
  const settings = { ...own, ...changes };
  const idle = new Set(PARAMETERS.filter(({ offered }) => offered && !offered(settings)).map(({ name }) => name));
  return Object.fromEntries(Object.entries(changes).filter(([name]) => !idle.has(name)));
}
