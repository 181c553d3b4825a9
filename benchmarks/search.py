"""A sweep on generated charts against the recipe that it begins with, and the tuning of the winner's grouping.

- The sweep: `tune/recipes/laptop.yaml`, twelve trainings, the last tuning included; its wall time.
- Its rival: one training of the same recipe, as it is, to its end, with its own grouping.
- Both are scored on the validation charts that the sweep chose by, and on charts that neither has seen.
- Tuning alone: 50 trials for the winner, on fresh maps and on kept ones.

    python benchmarks/search.py [--charts 480] [--fresh 96] [--out DIR] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "tune" / "recipes" / "laptop.yaml"
OURS = "from linegroup.cli import main; main()"
QUICK = ("training.max_steps=6", "data.epoch_samples=8", "search.trials=2", "search.charts=2", "search.final_trials=3")
SCORES = ("ari", "line_f1")


def main() -> None:
    """Print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charts", type=int, default=480, help="a fifth of them for validation")
    parser.add_argument("--fresh", type=int, default=96, help="charts that nothing was chosen by")
    parser.add_argument("--out", type=Path, help="keep everything here; default: a temporary folder")
    parser.add_argument("--quick", action="store_true", help="a look whether it runs; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    args = parser.parse_args()
    if args.quick:
        args.charts, args.fresh = 24, 4
    with tempfile.TemporaryDirectory(prefix="linegroup-search-") as temporary:
        found = measure(args.out or Path(temporary), args.charts, args.fresh, QUICK if args.quick else ())
    if not args.json:
        for name, figures in found.items():
            print(name, *(f"  {key}: {value}" for key, value in figures.items()), sep="\n")
    print(json.dumps(found))


def measure(out: Path, charts: int, fresh: int, overrides: tuple[str, ...]) -> dict[str, Any]:
    """All figures by measurement."""
    shards, unseen, sweep, alone = (out / name for name in ("shards", "fresh", "sweep", "default"))
    run("synth", "shards", "--count", charts, "--seed", 7, "--val-fraction", 0.2, "--out", shards)
    run("synth", "shards", "--count", fresh, "--seed", 8, "--split", "val", "--out", unseen)
    given = ("--config", RECIPE, f"data.train={shards}", f"tracking.uri=sqlite:///{out.absolute()}/mlflow.db")
    seconds = run("tune", "training", *given, f"search.out={sweep}", *overrides)
    of_training = [text for text in overrides if not text.startswith("search.")]
    recipe = out / "recipe.yaml"
    recipe.write_text(without_search(RECIPE.read_text(encoding="utf-8")), encoding="utf-8")
    alone_seconds = run("train", "--config", recipe, *given[2:], f"training.out={alone}", *of_training)
    trials = json.loads((sweep / "result.json").read_text(encoding="utf-8"))["trials"]
    states = [trial["state"] for trial in trials]
    tuned = [out / f"tuned{number}" for number in range(2)]
    words = (
        "tune",
        "grouping",
        "--model",
        sweep / "artifact",
        "--data",
        shards,
        "--trials",
        50,
        "--maps",
        out / "maps",
    )
    tuning = [run(*words, "--out", folder) for folder in tuned]
    return {
        "sweep": {
            "seconds": round(seconds, 1),
            "states": {state: states.count(state) for state in sorted(set(states))},
            "judged": max(trial["objective"] or 0.0 for trial in trials),
            **scores(sweep / "artifact", shards, unseen),
        },
        "the recipe as it is": {"seconds": round(alone_seconds, 1), **scores(alone / "artifact", shards, unseen)},
        "tuning, 50 trials": {"seconds": round(tuning[0], 1), "seconds, maps kept": round(tuning[1], 1)},
    }


def without_search(recipe: str) -> str:
    """The part of a search's recipe that is a training's."""
    return recipe[: recipe.index("\nsearch:") + 1]


def scores(model: Path, shards: Path, unseen: Path) -> dict[str, Any]:
    """Means and their 95 % intervals on the validation charts and on those that nobody has seen."""
    found = {}
    for name, data in (("validation", shards), ("unseen", unseen)):
        report = json.loads(ask("evaluate", "--model", model, "--data", data, "--json"))
        means = report["methods"]["model"]
        found |= {f"{name} {key}": [round(means[key][part], 3) for part in ("mean", "low", "high")] for key in SCORES}
    return found


def run(*words: object) -> float:
    """Seconds of one command."""
    started = time.perf_counter()
    ask(*words)
    return time.perf_counter() - started


def ask(*words: object) -> str:
    """Standard output of one command."""
    command = [sys.executable, "-c", OURS, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
