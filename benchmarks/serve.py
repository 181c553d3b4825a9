"""The service against the straightforward one of `reference_service.py`: same charts, same requests, same machine.

- Latency at one client: each chart in turn to the one and the other; the median of the ratios.
- Throughput at eight clients that ask again at once, the two in turn.
- Ours at 0.8 of that capacity, requests coming at an even pace whatever becomes of those before (open loop): p99 / p50.
  In each round, just after the capacity was measured: machines shared with others are not equally fast for long.
- Ours at twice its capacity: share that is done, how soon the others are refused.

    python benchmarks/serve.py [--charts 12] [--seconds 60] [--rounds 3] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
CHARTS = ROOT / "examples" / "real_charts" / "images"
OURS = "from linegroup.cli import main; main()"
SAME = {"clustering_method": "dbscan", "eps": "0.5", "min_samples": "10", "max_candidate_points": "20000"}
"""Sent to both: of more candidates a sample is clustered, without which the rival does not end on some charts."""

START_S, ANSWER_S = 900.0, 600.0


@dataclass
class Service:
    """One that runs: its address and what to send beside the picture."""

    name: str
    address: str
    fields: dict[str, str]
    client: httpx.Client

    def ask(self, content: bytes) -> tuple[int, float]:
        """Status (0: none) and seconds of one request."""
        started = time.perf_counter()
        try:
            answer = self.client.post(
                f"{self.address}/v1/cluster", files={"file": ("chart.png", content)}, data=self.fields
            )
        except httpx.HTTPError:
            return 0, time.perf_counter() - started
        return answer.status_code, time.perf_counter() - started


def main() -> None:
    """Print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charts", type=int, default=12)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement under load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a look whether it runs; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    args = parser.parse_args()
    if args.quick:
        args.charts, args.seconds, args.rounds = 3, 5.0, 1
    pictures = [path.read_bytes() for path in sorted(CHARTS.glob("*.png"))[: args.charts]]
    rival = [sys.executable, str(ROOT / "benchmarks" / "reference_service.py")]
    ours = [sys.executable, "-c", OURS, "serve", "--no-auth", "--port"]
    with running("rival", rival, "/health", SAME) as theirs, running("ours", ours, "/ready", SAME) as mine:
        for service in (theirs, mine):
            for content in pictures:
                check(service.ask(content)[0] == 200, f"{service.name} does not answer")
        found = measure(theirs, mine, pictures, args)
    if not args.json:
        for name, figures in found.items():
            print(name, *(f"  {key}: {value}" for key, value in figures.items()), sep="\n")
    print(json.dumps(found))


def measure(theirs: Service, mine: Service, pictures: Sequence[bytes], args: argparse.Namespace) -> dict[str, Any]:
    """All figures by measurement."""
    tuned = Service("ours, own parameters", mine.address, {}, mine.client)
    found: dict[str, Any] = {"one_client": one_client(theirs, mine, tuned, pictures, args.rounds)}
    speeds, evenly = [], []
    for _ in range(args.rounds):
        speeds.append([capacity(service, pictures, args.clients, args.seconds) for service in (theirs, tuned, mine)])
        evenly.append(paced(mine, pictures, 0.8 * speeds[-1][-1], args.seconds))
    rival, own, same = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratios = sorted(ours / their for their, _, ours in speeds)
    found["eight_clients"] = {
        "rival_per_s": round(rival, 3),
        "ours_per_s": round(same, 3),
        "ours_own_parameters_per_s": round(own, 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }
    evenly.sort(key=lambda figures: figures["p99_over_p50"] or 0.0)
    found["at_0.8_of_capacity"] = {
        **evenly[len(evenly) // 2],
        "ratios": [figures["p99_over_p50"] for figures in evenly],
    }
    found["at_2_of_capacity"] = paced(mine, pictures, 2.0 * same, args.seconds)
    return found


def one_client(
    theirs: Service, mine: Service, tuned: Service, pictures: Sequence[bytes], rounds: int
) -> dict[str, Any]:
    """Latencies of one request at a time, the services in turn."""
    seconds: dict[str, list[float]] = {service.name: [] for service in (theirs, mine, tuned)}
    for _ in range(rounds):
        for content in pictures:
            for service in (theirs, mine, tuned):
                status, took = service.ask(content)
                check(status == 200, f"{service.name} answered {status}")
                seconds[service.name].append(took)
    ratios = [ours / their for their, ours in zip(seconds[theirs.name], seconds[mine.name], strict=True)]
    medians = {f"{name}_p50_ms": round(1e3 * statistics.median(values)) for name, values in seconds.items()}
    worst = {f"{name}_worst_ms": round(1e3 * max(values)) for name, values in seconds.items()}
    return {**medians, **worst, "ours_over_rival": round(statistics.median(ratios), 3)}


def capacity(service: Service, pictures: Sequence[bytes], clients: int, seconds: float) -> float:
    """Answers per second when so many clients ask again as soon as they are answered."""
    end = time.perf_counter() + seconds
    done: list[float] = []

    def ask(number: int) -> None:
        while time.perf_counter() < end:
            status, _ = service.ask(pictures[number % len(pictures)])
            check(status == 200, f"{service.name} answered {status}")
            done.append(time.perf_counter())
            number += clients

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    return len(done) / (max(done) - started)


def paced(service: Service, pictures: Sequence[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """So many requests per second, evenly, each counted from when it was due."""
    count = max(3, int(rate * seconds))
    answers: list[tuple[int, float]] = []
    started = time.perf_counter()

    def ask(number: int) -> None:
        due = started + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        status, _ = service.ask(pictures[number % len(pictures)])
        answers.append((status, time.perf_counter() - due))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    good = sorted(late for status, late in answers if status == 200)
    refused = [late for status, late in answers if status == 503]
    middle, last = quantile(good, 0.5), quantile(good, 0.99)
    return {
        "per_s": round(rate, 3),
        "requests": count,
        "done_per_s": round(len(good) / took, 3),
        "p50_ms": round(1e3 * middle),
        "p99_ms": round(1e3 * last),
        "p99_over_p50": round(last / middle, 2) if middle else None,
        "refused": len(refused),
        "refused_p50_ms": round(1e3 * quantile(refused, 0.5)),
        "failed": count - len(good) - len(refused),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """Of unsorted values; NaN-free: 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextmanager
def running(name: str, command: list[str], ready: str, fields: dict[str, str]) -> Iterator[Service]:
    """A service in a process of its own for the length of the block."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    with (
        subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        httpx.Client(timeout=ANSWER_S, limits=limits) as client,
    ):
        try:
            service = Service(name, f"http://127.0.0.1:{port}", fields, client)
            end = time.monotonic() + START_S
            while not answers(client, service.address + ready):
                check(process.poll() is None and time.monotonic() < end, f"{name} did not start")
                time.sleep(0.5)
            yield service
        finally:
            process.terminate()


def answers(client: httpx.Client, address: str) -> bool:
    """Whether somebody says 200 there."""
    try:
        return client.get(address, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def check(good: bool, otherwise: str) -> None:
    """Stop the measurement where it would measure something else."""
    if not good:
        raise SystemExit(otherwise)


if __name__ == "__main__":
    main()
