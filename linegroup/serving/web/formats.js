/** The files that can be had, in the order in which they are offered. */

export const FORMATS = {
  csv: { label: "CSV", suffix: ".csv", about: "a row for each point" },
  csv_wide: { label: "CSV, wide", suffix: ".wide.csv", about: "a column for each line" },
  svg: { label: "SVG", suffix: ".svg", about: "drawing with paths" },
  json: { label: "JSON", suffix: ".json", about: "everything, with your names" },
  wpd: { label: "WebPlotDigitizer", suffix: ".tar", about: "project with the picture" },
  geojson: { label: "GeoJSON", suffix: ".geojson", about: "map features" },
  coco: { label: "COCO", suffix: ".coco.json", about: "annotations with masks" },
  labelme: { label: "labelme", suffix: ".labelme.json", about: "annotations to edit" },
  parquet: { label: "Parquet", suffix: ".parquet", about: "CSV with types" },
  label_png: { label: "Label image", suffix: ".labels.png", about: "16-bit PNG, 0 = none" },
};
