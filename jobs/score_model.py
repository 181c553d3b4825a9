"""A model's scores beside the trivial baselines, as one JSON line; a run in MLflow where MLFLOW_TRACKING_URI is set.

    ray job submit --working-dir . -- python jobs/score_model.py --model run/artifact --data SHARDS

Settings come from `--config` (YAML, see recipes/evaluate.yaml) and flags, which win; without either the data are
`./shards` and the model is the packaged one. The user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from linegroup.errors import UserError
from linegroup.evaluation import load_evaluation, run_evaluation


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe with the names of the flags")
    for flag in ("--model", "--data", "--split", "--device", "--out"):
        parser.add_argument(flag)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", dest="overrides", help="grouping.key=value or data.key=value")
    return parser.parse_args(arguments)


def main() -> int:
    """Score once; the exit code."""
    flags = vars(parse())
    try:
        evaluation = run_evaluation(load_evaluation(flags.pop("config"), flags))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(evaluation.to_json(), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
