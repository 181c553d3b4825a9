"""A model's scores beside the trivial baselines, as one JSON line.

    ray job submit --working-dir . -- python jobs/score_model.py --model run/artifact --data SHARDS

Settings come from `--config` (YAML, see recipes/evaluate.yaml) and flags, which win; without either the data are
`./shards` and the model is the packaged one. The user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from linegroup.errors import UserError
from linegroup.evaluation import save_evaluation, score_model

SETTINGS = ("model", "data", "split", "limit", "device", "out", "overrides")


def parse(arguments: list[str] | None = None) -> dict[str, Any]:
    """Flags over recipe; `UserError` when the recipe is no mapping of known names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe with the names of the flags")
    for flag in ("--model", "--data", "--split", "--device", "--out"):
        parser.add_argument(flag)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", dest="overrides", help="grouping.key=value or data.key=value")
    recipe = (flags := vars(parser.parse_args(arguments))).pop("config")
    try:
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read the recipe {recipe}: {error}.") from None
    wrong = settings.keys() - set(SETTINGS) if isinstance(settings, dict) else [f"a {type(settings).__name__}"]
    if wrong:
        raise UserError(f"{recipe} must be a mapping of {', '.join(SETTINGS)}; got {', '.join(map(str, wrong))}.")
    return settings | {name: value for name, value in flags.items() if value is not None}


def main() -> int:
    """Score once; the exit code."""
    try:
        settings = parse()
        out = settings.pop("out", None)
        evaluation = score_model(settings.pop("data", "shards"), **settings)
        if out is not None:
            save_evaluation(evaluation, Path(out))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(evaluation.to_json(), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
