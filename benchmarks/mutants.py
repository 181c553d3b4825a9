"""Do the engine's tests notice a wrong engine? Each mutant is one edit of it; the tests must fail on every one.

The package is copied into a temporary folder, edited there, and its tests are run against the copy.

    python benchmarks/mutants.py [--cases 700] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = "linegroup/grouping/engine"

LONGEST = 240
"""Seconds; the tests take a tenth of that."""

MUTANTS = {
    "no second look in double precision": (
        f"{ENGINE}/density.py",
        "return bool(exact_distance(tree.points, a, b) <= eps * eps)",
        "return True",
    ),
    "a core decision within rounding is a no": (
        f"{ENGINE}/density.py",
        "sure += _within(tree, position, first + lane, eps)",
        "sure += 0",
    ),
    "less than eps instead of at most": (f"{ENGINE}/density.py", "<= eps * eps)", "< eps * eps)"),
    "blocks pruned at 0.98 eps": (
        f"{ENGINE}/density.py",
        "if point_to_box(query, tree.lower, tree.upper, v) > limits[1]:",
        "if point_to_box(query, tree.lower, tree.upper, v) > 0.96 * limits[1]:",
    ),
    "pairs of nodes pruned at 0.98 eps": (
        f"{ENGINE}/density.py",
        "if box_to_box(lower, upper, a, b) > limits[1]:",
        "if box_to_box(lower, upper, a, b) > 0.96 * limits[1]:",
    ),
    "whole nodes taken at 1.02 eps": (
        "linegroup/grouping/dbscan.py",
        "* (1 - 4 * tree.band)",
        "* 1.02",
    ),
    "a border point takes its last cluster": (
        f"{ENGINE}/density.py",
        "and labels[q] < best",
        "and (best == large or labels[q] > best)",
    ),
    "clusters numbered by any of their core points": (
        "linegroup/grouping/dbscan.py",
        "np.minimum.at(first, joined[where], tree.order[where])",
        "first[joined[where]] = tree.order[where]",
    ),
    "a point is not its own neighbour": (
        f"{ENGINE}/density.py",
        "found = _count(tree, leaf, position, query, eps, limits, distances)",
        "found = _count(tree, leaf, position, query, eps, limits, distances) - 1",
    ),
    "a whole block counted twice": (
        f"{ENGINE}/density.py",
        "    node, looks = leaf, 0\n",
        "    found *= 2\n    node, looks = leaf, 0\n",
    ),
    "neighbours in single precision": (
        f"{ENGINE}/neighbours.py",
        "exact = exact_distance(tree.points, position, first + lane)",
        "exact = float(distances[lane])",
    ),
    "a neighbour too few": (
        f"{ENGINE}/neighbours.py",
        "first + lane != position:",
        "first + lane != position + 1:",
    ),
    "an edge without the other end's core distance": (
        f"{ENGINE}/spanning.py",
        "max(exact_distance(tree.points, p, q), reach[p], reach[q])",
        "max(exact_distance(tree.points, p, q), reach[p])",
    ),
    "the largest component's edge taken unsearched": (
        f"{ENGINE}/spanning.py",
        "        if root == largest:\n            continue\n",
        "",
    ),
    "old neighbours never forgotten": (
        f"{ENGINE}/spanning.py",
        "forest.part[forest.near[p]] == own:\n            forest.near[p] = -1",
        "forest.part[forest.near[p]] == own:\n            pass",
    ),
    "ties merged in pairs": (
        f"{ENGINE}/hierarchy.py",
        "if child >= count and lengths[child - count] == length:",
        "if child >= count and lengths[child - count] > length:",
    ),
    "a cluster may be one point smaller": (
        f"{ENGINE}/hierarchy.py",
        "large += sizes[part] >= min_cluster_size",
        "large += sizes[part] >= min_cluster_size - 1",
    ),
    "stability counts from zero": (
        f"{ENGINE}/hierarchy.py",
        "stability[own] += (density - birth[own]) * gone",
        "stability[own] += density * gone",
    ),
}
"""Name: file, what stands there, what the mutant has instead."""


def caught(name: str, cases: int) -> bool:
    """Whether the tests fail on a mutant."""
    path, old, new = MUTANTS[name]
    with tempfile.TemporaryDirectory() as folder:
        for part in ("linegroup", "tests/property", "pyproject.toml"):
            source, target = ROOT / part, Path(folder) / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        file = Path(folder) / path
        text = file.read_text()
        if old not in text:
            raise SystemExit(f"{name}: {path} no longer holds {old!r}; mend the mutant.")
        file.write_text(text.replace(old, new))
        tests = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/property/test_engine.py"]
        environment = {**os.environ, "PYTHONPATH": folder, "LINEGROUP_CASES": str(cases)}
        try:
            done = subprocess.run(
                [sys.executable, *tests], cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            return True  # an engine that never ends is noticed, too
        if done.returncode not in (0, 1):
            raise SystemExit(f"{name}: the tests did not run:\n{done.stdout}\n{done.stderr}")
        return done.returncode == 1


def main() -> None:
    """Try them all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=700, help="Clouds; 700 is what `make test` uses.")
    parser.add_argument("--only", choices=sorted(MUTANTS), action="append", help="Just this mutant; may be repeated.")
    flags = parser.parse_args()
    results = {}
    for name in flags.only or MUTANTS:
        results[name] = caught(name, flags.cases)
        print(f"{'caught ' if results[name] else 'ESCAPED'}  {name}", flush=True)
    print(json.dumps({"benchmark": "mutants", "caught": sum(results.values()), "of": len(results)}))
    sys.exit(0 if all(results.values()) else 1)


if __name__ == "__main__":
    main()
