"""Every benchmark, one after another, each in a process of its own; the last lines are their JSON objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "loss.py",
    "targets.py",
    "training_step.py",
    "sharding.py",
    "synth.py",
    "grouping.py",
    "lines.py",
    "scale.py",
    "search.py",
    "serve.py",
    "serve_worst.py",
)


def main() -> int:
    """Run them; 1 when one failed."""
    folder, results, failed = Path(__file__).parent, [], 0
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        done = subprocess.run([sys.executable, str(folder / script)], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        failed |= done.returncode
        results += done.stdout.strip().splitlines()[-1:]
    print("\n".join(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
