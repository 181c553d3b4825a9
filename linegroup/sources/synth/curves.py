"""Courses of lines in the unit square: x to the right, y up, both in about [0, 1].

A family is `rng, points -> (n, 2) float64`. Most are y(x) with ascending x; loops are not. Values
are spread over the square by the caller (`spread`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Curve = NDArray[np.float64]
Family = Callable[[np.random.Generator, int], Curve]


def smooth(rng: np.random.Generator, points: int) -> Curve:
    """A random cubic-like course through a few knots."""
    knots = int(rng.integers(3, 9))
    x = np.linspace(0, 1, points)
    if rng.random() < 0.5:
        return _at(x, PchipInterpolator(np.linspace(0, 1, knots), rng.random(knots))(x))
    waves = np.arange(1, knots)
    y = (rng.standard_normal(len(waves)) / waves ** rng.uniform(0.8, 1.8))[:, None] * np.sin(
        np.pi * waves[:, None] * x + rng.uniform(0, 2 * np.pi, len(waves))[:, None]
    )
    return _at(x, y.sum(axis=0) + rng.uniform(-1.5, 1.5) * x)


def noisy(rng: np.random.Generator, points: int) -> Curve:
    """A smooth course with noise, white or slowly varying."""
    base = smooth(rng, points)
    noise = rng.standard_normal(points)
    reach = int(rng.choice([1, 1, 2, 4, 8]))
    noise = np.convolve(noise, np.ones(reach) / np.sqrt(reach), mode="same")
    spread = np.ptp(base[:, 1]) or 1.0
    return _at(base[:, 0], base[:, 1] + spread * float(np.exp(rng.uniform(np.log(0.01), np.log(0.2)))) * noise)


def walk(rng: np.random.Generator, points: int) -> Curve:
    """A random walk with drift, as prices have it."""
    steps = rng.standard_normal(points) + rng.uniform(-0.15, 0.15)
    return _at(np.linspace(0, 1, points), np.cumsum(steps))


def step(rng: np.random.Generator, points: int) -> Curve:
    """Level pieces with jumps."""
    count = int(rng.integers(4, min(40, max(5, points // 4)) + 1))
    edges = np.sort(rng.random(count - 1)) if rng.random() < 0.5 else np.linspace(0, 1, count + 1)[1:-1]
    levels = np.cumsum(rng.standard_normal(count)) if rng.random() < 0.6 else rng.random(count)
    return _stairs(np.concatenate([[0.0], edges, [1.0]]), levels)


def piecewise(rng: np.random.Generator, points: int) -> Curve:
    """Straight pieces between a few readings."""
    del points
    count = int(rng.integers(3, 22))
    x = np.linspace(0, 1, count)
    if rng.random() < 0.25:
        x[1:-1] += rng.uniform(-0.35, 0.35, count - 2) / count
    y = rng.random(count) if rng.random() < 0.4 else np.cumsum(rng.standard_normal(count))
    return _at(x, y)


def monotone(rng: np.random.Generator, points: int) -> Curve:
    """Rising or falling: powers, exponentials, saturations, sigmoids, straight lines."""
    x = np.linspace(0, 1, points)
    k = np.exp(rng.uniform(np.log(0.3), np.log(8)))
    shapes = (
        lambda: x**k,
        lambda: np.exp(k * x),
        lambda: 1 - np.exp(-k * x),
        lambda: 1 / (1 + np.exp(-3 * k * (x - rng.uniform(0.2, 0.8)))),
        lambda: x.copy(),
        lambda: np.log1p(10 * k * x),
    )
    y = shapes[int(rng.integers(len(shapes)))]()
    return _at(x, -y if rng.random() < 0.5 else y)


def peaks(rng: np.random.Generator, points: int) -> Curve:
    """A spectrum: narrow peaks on a flat or sloping base."""
    x = np.linspace(0, 1, points)
    count = int(rng.integers(1, 14))
    centres, widths = rng.random(count), np.exp(rng.uniform(np.log(0.003), np.log(0.06), count))
    heights = rng.random(count) ** 2 + 0.05
    away = (x[:, None] - centres) / widths
    lorentz = rng.random() < 0.5
    y = (heights * (1 / (1 + away**2) if lorentz else np.exp(-0.5 * away**2))).sum(axis=1)
    y += rng.uniform(-0.3, 0.3) * x + rng.choice([0, 0.005, 0.02]) * rng.standard_normal(points)
    return _at(x, -y if rng.random() < 0.15 else y)


def periodic(rng: np.random.Generator, points: int) -> Curve:
    """Waves, pure, damped, growing, modulated or triangular."""
    x = np.linspace(0, 1, points)
    phase = 2 * np.pi * (np.exp(rng.uniform(np.log(0.7), np.log(14))) * x + rng.random())
    wave = np.sin(phase) if rng.random() < 0.75 else 2 / np.pi * np.arcsin(np.sin(phase))
    envelope = (
        np.ones_like(x),
        np.exp(-rng.uniform(1, 5) * x),
        np.exp(rng.uniform(0.5, 2) * (x - 1)),
        1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * x),
    )
    return _at(x, wave * envelope[int(rng.choice(4, p=[0.55, 0.2, 0.1, 0.15]))] + rng.uniform(-0.7, 0.7) * x)


def ecg(rng: np.random.Generator, points: int) -> Curve:
    """Heart beats: small wave, sharp spike, small wave, over and over."""
    x = np.linspace(0, 1, points)
    beats = rng.uniform(3, 12)
    phase = (beats * x + rng.random()) % 1
    waves = ((0.2, 0.025, 0.15), (0.37, 0.008, -0.15), (0.4, 0.011, 1.0), (0.43, 0.01, -0.25), (0.65, 0.04, 0.3))
    y = sum(h * rng.uniform(0.7, 1.3) * np.exp(-0.5 * ((phase - c) / w) ** 2) for c, w, h in waves)
    return _at(x, np.asarray(y) + 0.01 * rng.standard_normal(points))


def survival(rng: np.random.Generator, points: int) -> Curve:
    """A Kaplan-Meier curve: stairs down from one."""
    del points
    count = int(rng.integers(6, 60))
    edges = np.sort(rng.random(count) ** rng.uniform(0.8, 1.6))
    drops = rng.random(count) ** 2
    levels = 1 - np.concatenate([[0.0], np.cumsum(drops / drops.sum())]) * rng.uniform(0.2, 1)
    return _stairs(np.concatenate([[0.0], edges, [1.0]]), levels)


def learning(rng: np.random.Generator, points: int) -> Curve:
    """Loss or accuracy over time: fast, then slow, with noise that dies down."""
    x = np.linspace(0, 1, points)
    course = (1 + rng.uniform(5, 80) * x) ** -rng.uniform(0.4, 1.5)
    noise = rng.standard_normal(points) * rng.choice([0, 0.01, 0.03, 0.06]) * (0.3 + course)
    late = rng.uniform(0, 0.5) * np.clip(x - rng.uniform(0.2, 0.8), 0, None) * (rng.random() < 0.3)
    y = course + noise + late
    return _at(x, 1 - y if rng.random() < 0.4 else y)


def loop(rng: np.random.Generator, points: int) -> Curve:
    """A closed curve or a spiral: hysteresis, phase portraits, Lissajous figures."""
    t = np.linspace(0, 2 * np.pi, max(points, 120))
    kind = int(rng.integers(4))
    if kind == 0:
        xy = np.stack([np.cos(t), np.sin(t + rng.uniform(0.2, 1.2)) * rng.uniform(0.4, 1)], axis=1)
    elif kind == 1:
        a, b = rng.choice([(1, 2), (2, 3), (3, 2), (2, 1)])
        xy = np.stack([np.sin(a * t + rng.random()), np.sin(b * t)], axis=1)
    elif kind == 2:
        radius = 1 + sum(rng.uniform(-0.2, 0.2) * np.cos(k * t + rng.uniform(0, 7)) for k in range(2, 5))
        xy = np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)
    else:
        turns = rng.uniform(1.5, 3.5)
        xy = (np.linspace(0.15, 1, len(t)) * np.stack([np.cos(turns * t), np.sin(turns * t)])).T
    low, high = xy.min(axis=0), xy.max(axis=0)
    xy = (xy - low) / (high - low)
    size = rng.uniform(0.4, 1, 2)
    return np.asarray(xy * size + rng.random(2) * (1 - size))


def drafted(rng: np.random.Generator, points: int) -> Curve:
    """An engineer's record: smooth arcs, sudden spikes, level stretches."""
    x = np.linspace(0, 1, points)
    y = smooth(rng, points)[:, 1]
    y = (y - y.min()) / (np.ptp(y) or 1)
    for _ in range(int(rng.integers(0, 6))):
        start, width = rng.random(), rng.uniform(0.005, 0.08)
        y += rng.uniform(-0.8, 0.8) * np.clip(1 - np.abs(x - start) / width, 0, None)
    if rng.random() < 0.4:
        y = np.where(x < rng.uniform(0.05, 0.3), y[0], y)
    return _at(x, y)


FAMILIES: dict[str, Family] = {
    "smooth": smooth,
    "noisy": noisy,
    "walk": walk,
    "step": step,
    "piecewise": piecewise,
    "monotone": monotone,
    "peaks": peaks,
    "periodic": periodic,
    "ecg": ecg,
    "survival": survival,
    "learning": learning,
    "loop": loop,
    "drafted": drafted,
}


def spread(curve: Curve, low: float, high: float) -> Curve:
    """The curve with its y values from `low` to `high`; a level one lies in the middle."""
    y = curve[:, 1]
    reach = np.ptp(y)
    scaled = (y - y.min()) / reach if reach > 1e-12 else np.full_like(y, 0.5)
    return _at(curve[:, 0], low + (high - low) * scaled)


def _at(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    return np.stack([x, y], axis=1)


def _stairs(edges: NDArray[np.float64], levels: NDArray[np.float64]) -> Curve:
    """Level k from edge k to edge k + 1, with upright pieces between."""
    return _at(np.repeat(edges, 2)[1:-1], np.repeat(levels, 2))
