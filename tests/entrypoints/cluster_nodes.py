"""Run by test_cluster_nodes.py, for a Ray of its own: three nodes on this machine, of which working ones are removed.

    python tests/entrypoints/cluster_nodes.py jobs FOLDER dotted.key=value …
    python tests/entrypoints/cluster_nodes.py search FOLDER dotted.key=value …

Below FOLDER, of `jobs`: `shards` by a job that lost a node; `quiet` and `lost`, trainings with two workers each, of
which the second lost the node of one of them. Of `search`: `search`, which lost the node of one of its trainings.
Writes one JSON line.
"""

import contextlib
import itertools
import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before Ray is imported.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")

import ray
from ray.cluster_utils import Cluster

from linegroup.config import load_config
from linegroup.distributed.data import ShardProgress, make_shards
from linegroup.distributed.search import search_method
from linegroup.distributed.synth_job import SynthJob
from linegroup.distributed.train import train_distributed
from linegroup.tuning.plans import TRAININGS, load_search, plan_search

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


class Machines:
    """A head, where this process is, and two nodes beside it."""

    def __init__(self) -> None:
        head = {**NODE, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.fill()
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def fill(self) -> None:
        """Up to three nodes."""
        while len(self._cluster.worker_nodes) < 2:
            self._cluster.add_node(**NODE)
        self._cluster.wait_for_nodes()

    def lose(self, title: str, seconds: float = 120) -> bool:
        """Remove a node, not the head, where a process with that title works; False where none came up in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for node in list(self._cluster.worker_nodes):
                raylet = node.all_processes["raylet"][0].process.pid
                if any(title in words for words in children(raylet)):
                    self._cluster.remove_node(node, allow_graceful=False)
                    return True
            time.sleep(0.01)
        return False

    def left(self, seconds: float = 60) -> int:
        """How many nodes are alive once the loss of one is known: Ray learns of it a little after it happened."""
        deadline = time.monotonic() + seconds
        while (count := sum(node["Alive"] for node in ray.nodes())) > 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return count

    def stop(self) -> None:
        ray.shutdown()
        self._cluster.shutdown()


def children(pid: int) -> list[str]:
    """What the child processes of a process call themselves."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    return found


class Loss:
    """A node is removed as soon as something has come true; the work goes on beside it."""

    def __init__(self, machines: Machines, title: str, when: Callable[[], bool]) -> None:
        self.happened = False
        self._thread = threading.Thread(target=self._work, args=(machines, title, when), daemon=True)
        self._thread.start()

    def _work(self, machines: Machines, title: str, when: Callable[[], bool]) -> None:
        while not when():
            time.sleep(0.01)
        self.happened = machines.lose(title)

    def join(self) -> bool:
        self._thread.join(150)
        return self.happened


def jobs(machines: Machines, root: Path, settings: list[str]) -> dict[str, Any]:
    """Sharding and training."""
    seconds = [time.monotonic()]
    states = [ShardProgress()]
    loss = Loss(machines, "ray::Map", lambda: states[-1].done >= 2)
    made = make_shards(SynthJob(count=24, images_per_part=1, out=root / "shards"), states.append)
    lost = [loss.join()]
    left = [machines.left()]
    seconds.append(time.monotonic())
    machines.fill()
    train_distributed(load_config(None, [*settings, f"training.out={root / 'quiet'}"]))
    seconds.append(time.monotonic())
    last = root / "lost" / "checkpoints" / "last.pt"
    loss = Loss(machines, "RayTrainWorker", last.exists)
    result = train_distributed(load_config(None, [*settings, f"training.out={root / 'lost'}"]))
    lost.append(loss.join())
    left.append(machines.left())
    seconds.append(time.monotonic())
    return {
        "lost": lost,
        "left": left,
        "samples": made.samples,
        "steps": result.steps,
        "resumed_from": result.resumed_from,
        "seconds": [round(b - a, 1) for a, b in itertools.pairwise(seconds)],
    }


def search(machines: Machines, root: Path, settings: list[str]) -> dict[str, Any]:
    """A search, two trainings at a time; `stood` is where they were when the node was lost."""
    plan = plan_search(*load_search(None, [*settings, f"search.out={root / 'search'}"]))
    first: dict[str, int] = {}
    stood: dict[str, int] = {}

    def both_judged_twice() -> bool:
        for path in (plan.out / TRAININGS).glob("*/judged.json"):
            stood[path.parent.name] = json.loads(path.read_text())["step"]
            first.setdefault(path.parent.name, stood[path.parent.name])
        return len(stood) == 2 and all(stood[name] > first[name] for name in stood)

    loss = Loss(machines, "ray::ImplicitFunc", both_judged_twice)
    result = search_method(plan)
    return {
        "lost": [loss.join()],
        "left": [machines.left()],
        "stood": stood,
        "trials": [{"state": trial.state, "spent": trial.spent, "note": trial.note} for trial in result.trials],
    }


SCENARIOS = {"jobs": jobs, "search": search}


def main() -> dict[str, Any]:
    name, folder, *settings = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="lg-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        # Also the address of this cluster is noted below it, where nobody else looks.
        os.environ["RAY_TMPDIR"] = temporary
        (Path(temporary) / "ray").mkdir()
        machines = Machines()
        try:
            return SCENARIOS[name](machines, Path(folder), settings)
        finally:
            machines.stop()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()) + "\n")
