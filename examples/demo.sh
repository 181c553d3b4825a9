#!/usr/bin/env bash
# The main job on real charts: shards -> training -> evaluation -> lines. Called by `make demo`.
set -euo pipefail
bin=$(cd "${BIN:-.venv/bin}" && pwd)
demo=${DEMO:-demo}
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

rm -rf "$demo"
mkdir -p "$demo"
export MLFLOW_TRACKING_URI="sqlite:///$(cd "$demo" && pwd)/mlflow.db"

say "1/4  Twenty annotated charts become Parquet shards (Ray Data)"
"$bin/linegroup" shard --annotations "$here/real_charts/annotations.json" --images "$here/real_charts" \
    --out "$demo/shards" --val-fraction 0.3 --seed 1

say "2/4  The packaged model, a small U-Net, learns from them (Ray Train, tracked by MLflow)"
"$bin/linegroup" train --config "$here/../jobs/recipes/demo.yaml" data.train="$demo/shards" training.out="$demo/run"

say "3/4  It is scored on charts it has not seen, beside two trivial baselines"
"$bin/linegroup" evaluate --model "$demo/run/artifact" --data "$demo/shards" --out "$demo/evaluation"

say "4/4  Every line of every chart becomes its own object"
"$bin/linegroup" predict "$here/real_charts/images" --out "$demo/lines" --model "$demo/run/artifact"

cat <<TXT

Two minutes of training on a dozen charts show how it is done; a better model takes more charts (docs/training.md).
What to look at:
  $demo/evaluation/   worst, median and best charts, truth beside model and baselines
  $demo/lines/        one picture, label image and JSON per chart
  $bin/mlflow ui --backend-store-uri $MLFLOW_TRACKING_URI
TXT
