"""Run by test_kills.py: a job, killed at the n-th rename of a file, for one n after the other.

    python tests/entrypoints/aimed_kills.py sharding before OUT CHARTS
    python tests/entrypoints/aimed_kills.py training after OUT data.train=SHARDS …

Each job is a process of its own, forked from this one, which has loaded everything but done nothing; SIGKILL comes from
itself, right before or right after `os.replace` or `os.rename`. `OUT/n` is killed at its n-th rename only, `OUT/chain`
again and again; all are finished then. Writes the number of kills.
"""

import contextlib
import importlib
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from linegroup.config import load_config
from linegroup.distributed.data import ShardJob, make_shards_serial
from linegroup.training.loop import train_local


def sharding(out: Path, settings: list[str]) -> None:
    charts = Path(settings[0])
    make_shards_serial(
        ShardJob(annotations=charts / "a.json", images=charts / "images", images_per_part=2, val_fraction=0.3, out=out)
    )


def training(out: Path, settings: list[str]) -> None:
    torch.set_num_threads(1)
    train_local(load_config(None, [*settings, f"training.out={out}"]))


JOBS = {"sharding": sharding, "training": training}


def aim(at: int, moment: str) -> None:
    """Let this process die at its `at`-th rename."""
    count = itertools.count(1)

    def dying(honest: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments, **options):
            fatal = next(count) == at
            if fatal and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            honest(*arguments, **options)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    os.replace, os.rename = dying(os.replace), dying(os.rename)


def attempt(job: Callable[[], None], at: int | None, moment: str) -> bool:
    """Whether the job was killed; False: it has come to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if at is not None:
                aim(at, moment)
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, "the job failed"
    return False


def warm(job: Callable[[], None], note: Path) -> None:
    """Do the job once, undisturbed, and load here what it has loaded late: else each process would again, for seconds.

    Not in this process: torch, once it has worked, does not work in forks any more.
    """
    attempt(lambda: (job(), note.write_text("\n".join(sys.modules))), None, "")
    for name in note.read_text().split("\n"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    note.unlink()


def kills(job: Callable[[Path], None], root: Path, moment: str) -> Iterator[int]:
    """One for each kill."""
    warm(lambda: job(root / "undisturbed"), root / "modules")
    for at in itertools.count(1):
        out = root / str(at)
        if not attempt(lambda out=out: job(out), at, moment):
            break
        yield 1
        attempt(lambda out=out: job(out), None, moment)
    for at in itertools.count(2):
        # Each attempt comes further than the one before: a part may need three renames to be done.
        if not attempt(lambda: job(root / "chain"), at, moment):
            break
        yield 1


def main() -> None:
    name, moment, root, *settings = sys.argv[1:]
    job = JOBS[name]
    sys.stdout.write(f"{sum(kills(lambda out: job(out, settings), Path(root), moment))}\n")


if __name__ == "__main__":
    main()
