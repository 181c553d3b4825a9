"""Colours of lines: `rng, count -> (count, 3) RGB in 0..1`, by how well they tell lines apart."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float64]

# Categorical palettes of common programs (public colour values), as hexadecimal RGB.
_SETS = (
    "1f77b4 ff7f0e 2ca02c d62728 9467bd 8c564b e377c2 7f7f7f bcbd22 17becf",
    "0072bd d95319 edb120 7e2f8e 77ac30 4dbeee a2142f",
    "4c78a8 f58518 e45756 72b7b2 54a24b eeca3b b279a2 ff9da6 9d755d bab0ac",
    "e41a1c 377eb8 4daf4a 984ea3 ff7f00 a65628 f781bf 999999",
    "4472c4 ed7d31 a5a5a5 ffc000 5b9bd5 70ad47 264478 9e480e",
    "3366cc dc3912 ff9900 109618 990099 0099c6 dd4477 66aa00 b82e2e 316395",
    "f8766d 00ba38 619cff c77cff 00bfc4 b79f00",
    "9400d3 009e73 56b4e9 e69f00 f0e442 0072b2 e51e10 000000",
    "ff0000 0000ff 00aa00 000000 ff00ff 00aaaa aa5500 888800",
    "1b9e77 d95f02 7570b3 e7298a 66a61e e6ab02 a6761d 666666",
    "000000 e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7",
    "1a85ff d41159 ffc20a 40b0a6 5d3a9b e66100",
)


def distinct(rng: np.random.Generator, count: int) -> Colours:
    """A program's categorical colours, or hues spread around the circle."""
    if rng.random() < 0.7:
        table = _hex(_SETS[int(rng.integers(len(_SETS)))])
        if count <= len(table):
            return table[:count] if rng.random() < 0.6 else table[rng.permutation(len(table))[:count]]
    hues = (rng.random() + np.arange(count) / count + rng.uniform(-0.2, 0.2, count) / count) % 1
    lightness, saturation = rng.uniform(0.3, 0.6), rng.uniform(0.5, 1)
    colours = [
        colorsys.hls_to_rgb(h, float(np.clip(lightness + rng.uniform(-0.1, 0.1), 0, 1)), saturation) for h in hues
    ]
    return np.array(colours)[rng.permutation(count)]


def similar(rng: np.random.Generator, count: int) -> Colours:
    """Neighbouring hues of near lightness."""
    hues = rng.random() + np.linspace(0, rng.uniform(0.04, 0.14), count)
    colours = [colorsys.hls_to_rgb(h % 1, rng.uniform(0.35, 0.55), rng.uniform(0.6, 1)) for h in hues]
    return np.array(colours)[rng.permutation(count)]


def sequential(rng: np.random.Generator, count: int) -> Colours:
    """Steps from one colour to another, in order."""
    hue, turn = rng.random(), rng.uniform(-0.35, 0.35)
    light = np.linspace(rng.uniform(0.15, 0.35), rng.uniform(0.5, 0.72), count)
    steps = np.linspace(0, 1, count)
    saturation = rng.uniform(0.5, 1)
    colours = np.array(
        [colorsys.hls_to_rgb((hue + turn * s) % 1, v, saturation) for s, v in zip(steps, light, strict=True)]
    )
    return colours[::-1] if rng.random() < 0.5 else colours


def grey(rng: np.random.Generator, count: int) -> Colours:
    """Greys, darker and lighter."""
    values = np.linspace(rng.uniform(0, 0.1), rng.uniform(0.45, 0.7), count)[rng.permutation(count)]
    return np.repeat(values[:, None], 3, axis=1)


def black(rng: np.random.Generator, count: int) -> Colours:
    """All black, or nearly."""
    return np.full((count, 3), rng.choice([0.0, 0.0, 0.0, 0.1, 0.2]))


def one_colour(rng: np.random.Generator, count: int) -> Colours:
    """All of one colour."""
    return np.repeat(distinct(rng, 1), count, axis=0)


PALETTES: dict[str, Callable[[np.random.Generator, int], Colours]] = {
    "distinct": distinct,
    "similar": similar,
    "sequential": sequential,
    "grey": grey,
    "black": black,
    "one_colour": one_colour,
}
SAME = frozenset({"black", "one_colour"})
"""Palettes that give all lines one colour."""


def _hex(text: str) -> Colours:
    return np.array([[int(word[i : i + 2], 16) / 255 for i in (0, 2, 4)] for word in text.split()])
