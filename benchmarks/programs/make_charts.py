r"""Make the charts of twelve plotting programs, with the exact mask of every line, for `linegroup evaluate`.

Writes DIR/images/*.png, DIR/annotations.json (COCO) and DIR/contact_sheet.png, which shows some of the pictures
beside their truth: look at it. The same seed gives the same recipes everywhere, and the same pictures where the same
versions of the programs draw them. A program that is not installed is left out; so are charts whose truth does not
lie on the picture. Every tenth chart comes a second time as JPEG, every tenth other in half the size.

    python benchmarks/programs/make_charts.py --out programs
    python benchmarks/programs/make_charts.py --out few --count 2 --programs gnuplot,vegalite
    linegroup shard --annotations programs/annotations.json --images programs/images --category line \
        --split val --out programs-shards
    linegroup evaluate --data programs-shards --out programs-scores
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from browser import Browser
from coco import Writer
from contact_sheet import ContactSheet
from programs import PROGRAMS, Tools
from recipes import Recipe, make_recipe
from truth import Drawing, as_jpeg, halved, misplaced

JPEG_OF_TEN, HALF_OF_TEN = 2, 7


def main() -> int:
    """Make the charts; 1 when none was made."""
    options = parse()
    writer, sheet = Writer(options.out), ContactSheet()
    with Browser(options.node_modules) as browser, tempfile.TemporaryDirectory() as scratch:
        tools = Tools(browser, Path(scratch))
        for name in options.programs:
            if lacks := PROGRAMS[name].missing(options.node_modules):
                say(f"{name}: left out, not installed: {', '.join(lacks)} (see README.md)")
                continue
            for recipe, drawing in draw_all(name, options.count, options.seed, tools):
                add(writer, recipe, drawing)
                if recipe.index < 2:
                    sheet.add(f"{name} {recipe.index}", drawing)
    if not writer.images:
        say("No chart was made.")
        return 1
    sheet.write(options.out / "contact_sheet.png")
    say(f"{len(writer.images)} pictures with {len(writer.annotations)} lines: {writer.finish()}")
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and annotations")
    parser.add_argument("--count", type=int, default=20, help="charts of each program, at most 1000 [20]")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other charts [0]")
    names = ",".join(PROGRAMS)
    parser.add_argument(
        "--programs", type=known_programs, default=names, metavar="NAMES", help=f"some of {names} [all]"
    )
    default = Path(__file__).parent / "node_modules"
    about = "where npm put the JavaScript libraries [node_modules beside this script]"
    parser.add_argument("--node-modules", type=Path, default=default, metavar="DIR", help=about)
    options = parser.parse_args()
    if not 1 <= options.count <= 1000 or options.seed < 0:
        parser.error("--count must be 1..1000 and --seed not negative")
    return options


def known_programs(text: str) -> list[str]:
    """Names of programs, separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in PROGRAMS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    return names


def draw_all(name: str, count: int, seed: int, tools: Tools) -> Iterator[tuple[Recipe, Drawing]]:
    """Charts of one program whose truth is sound."""
    kept = 0
    for index in range(count):
        recipe = make_recipe(name, index, seed)
        try:
            drawing = PROGRAMS[name].draw(recipe, tools)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{name} {index}: {error}\n{error.stderr}") from error
        if wrong := misplaced(drawing):
            say(f"{name} {index}: left out, the truth of lines {wrong} does not lie on the picture")
            continue
        kept += 1
        yield recipe, drawing
    say(f"{name}: {kept} of {count} charts")


def add(writer: Writer, recipe: Recipe, drawing: Drawing) -> None:
    """The chart, and its damaged copy where it has one."""
    name = f"{recipe.program}_{recipe.index:02d}"
    writer.add(name, recipe, drawing)
    if recipe.index % 10 == JPEG_OF_TEN:
        quality = int(np.random.default_rng(recipe.seed).integers(60, 91))
        writer.add(f"{name}_jpeg", recipe, as_jpeg(drawing, quality), ("copy", "jpeg"))
    if recipe.index % 10 == HALF_OF_TEN:
        writer.add(f"{name}_half", recipe, halved(drawing), ("copy", "halved"))


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
