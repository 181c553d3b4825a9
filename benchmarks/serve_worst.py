"""The service's slowest answers: hostile pictures of one megapixel with every combination of parameters.

Each picture (a grey page, noise, a grainy scan, dots, black and white pixels) is sent to a running service with every
method, every choice of candidates and several extreme settings, one request at a time. An answer may be a 422 that
says what is too much; what counts is that it comes soon.

    python benchmarks/serve_worst.py [--side 1000] [--requests 300] [--methods link,gmm] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from linegroup.grouping import CANDIDATES, GROUPERS
from linegroup.images import encode_png
from serve import OURS, check, running

LIMIT_S = 2.0

EXTREMES: dict[str, dict[str, str]] = {
    "own parameters": {},
    "wide": {"eps": "10", "min_samples": "1", "min_cluster_size": "2"},
    "narrow": {"eps": "0.001", "min_samples": "1", "min_pixels": "1"},
    "auto": {"auto_eps": "true", "auto_eps_k": "50", "l2_normalize": "true"},
    "spatial": {"use_spatial": "true", "spatial_weight": "5", "min_samples": "200", "max_candidate_points": "120000"},
}


def main() -> None:
    """Print the slowest answers and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1000, help="of the pictures, in pixels")
    parser.add_argument("--requests", type=int, help="so many of all combinations, drawn at random")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="these only; default: all")
    parser.add_argument("--quick", action="store_true", help="one picture, two methods")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    args = parser.parse_args()
    methods, pictures = args.methods or sorted(GROUPERS), dict(hostile_pictures(args.side))
    check(set(methods) <= set(GROUPERS), f"methods are {', '.join(sorted(GROUPERS))}")  # others are refused soon
    if args.quick:
        methods, pictures = ["dbscan", "link"], {"grey": pictures["grey"]}
    command = [sys.executable, "-c", OURS, "serve", "--no-auth", "--port"]
    with running("the service", command, "/ready", {}) as service:
        orders = list(itertools.product(pictures, ("cluster", "lines"), methods, sorted(CANDIDATES), EXTREMES))
        if args.requests:
            orders = random.Random(0).sample(orders, min(args.requests, len(orders)))
        rows = [answer(service.client, service.address, pictures[order[0]], order) for order in orders]
    rows.sort(key=lambda row: -row["seconds"])
    seconds = [row["seconds"] for row in rows]
    found = {
        "requests": len(rows),
        "median_s": round(statistics.median(seconds), 2),
        "worst_s": round(max(seconds), 2),
        f"above_{LIMIT_S:g}_s": sum(value > LIMIT_S for value in seconds),
        "statuses": dict(Counter(str(row["status"]) for row in rows)),
        "slowest": rows[:12],
    }
    if not args.json:
        for row in rows[:12]:
            print(*row.values(), sep="  ")
    print(json.dumps(found))
    check(not any(row["status"] >= 500 for row in rows), "the service failed")


def answer(client: httpx.Client, address: str, content: bytes, order: tuple[str, str, str, str, str]) -> dict[str, Any]:
    """What became of one request."""
    picture, path, method, candidates, settings = order
    fields = {"clustering_method": method, "candidate_method": candidates, **EXTREMES[settings]}
    answer = client.post(f"{address}/v1/{path}", files={"file": ("a.png", content)}, data=fields)
    return {
        "seconds": round(answer.elapsed.total_seconds(), 3),
        "status": answer.status_code,
        "picture": picture,
        "path": path,
        "method": method,
        "candidates": candidates,
        "settings": settings,
        "stages_ms": answer.headers.get("server-timing", "").replace(";dur=", " "),
    }


def hostile_pictures(side: int) -> Iterator[tuple[str, bytes]]:
    """Name and PNG."""
    rng = np.random.default_rng(0)
    grey = np.full((side, side, 3), 190, dtype=np.uint8)
    x = np.arange(side // 20, side - side // 20)
    for k in range(6):
        y = (side / 2 + 0.4 * side * np.sin(x / (40 + 30 * k) + k)).astype(int)
        for offset in (-1, 0, 1):
            grey[y + offset, x] = rng.integers(0, 160, 3)
    dots = np.full_like(grey, 255)
    dots[::4, ::4] = 0
    pictures: dict[str, NDArray[np.uint8]] = {
        "grey": grey,
        "noise": rng.integers(0, 256, grey.shape, dtype=np.uint8),
        "grainy": np.clip(grey + rng.normal(0, 12, grey.shape), 0, 255).astype(np.uint8),
        "dots": dots,
        "black and white": np.repeat(rng.integers(0, 2, (side, side, 1), dtype=np.uint8) * 255, 3, axis=2),
    }
    yield from ((name, encode_png(pixels)) for name, pixels in pictures.items())


if __name__ == "__main__":
    main()
