"""What a run says while it goes: `metrics.jsonl`, the tracker, a bar on a terminal, or a line now and then."""

from __future__ import annotations

import io
import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from linegroup.files import remove_temporaries, write_bytes, write_text
from linegroup.images import encode_png
from linegroup.training.tracking import Tracker

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
_LINE_SECONDS = 30.0
_FLUSH_SECONDS = 2.0


class Reporter:
    """Takes what the process of rank 0 has to say; used as a context."""

    def __init__(self, out: Path, tracker: Tracker, first: int, total: int, *, bar: bool | None = None) -> None:
        """Open the records of a run.

        Args:
            out: Run folder. Rows of its `metrics.jsonl` beyond `first` are removed: those steps come again.
            tracker: Where everything goes as well.
            first: Steps done already.
            total: Steps of the whole run.
            bar: Draw a progress bar; None: when standard error is a terminal.
        """
        self._out = out
        self._tracker = tracker
        self._file = out / METRICS_FILE
        self._rows: list[str] = []
        self._flushed = self._said = time.monotonic()
        self._bar = progress_bar(bar)
        self._task = self._bar.add_task("Training", total=total, completed=first, note="")
        self._total = total
        out.mkdir(parents=True, exist_ok=True)
        _cut(self._file, first)

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.flush()
        self._bar.stop()

    def step(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Note the values of a training step; `step` counts from 1."""
        self._add(step, epoch, {f"train_{name}": value for name, value in values.items()})
        loss = values["total"]
        self._bar.update(self._task, completed=step, note=f"loss {loss:.3f}")
        if self._bar.disable and time.monotonic() - self._said > _LINE_SECONDS:
            self._said = time.monotonic()
            logger.info("Step %d of %d, epoch %.2f, loss %.4f", step, self._total, epoch, loss)

    def validation(
        self, step: int, epoch: float, scores: Mapping[str, float], picture: NDArray[np.uint8] | None
    ) -> None:
        """Note the scores of a validation, and keep its picture."""
        self._add(step, epoch, scores)
        if picture is not None:
            path = self._out / "pictures" / f"epoch-{round(epoch):04d}.png"
            write_bytes(path, encode_png(picture))
            self._tracker.picture(path)

    def say(self, message: str) -> None:
        """One line for people."""
        if self._bar.disable:
            logger.info("%s", message)
        else:
            self._bar.console.print(message, highlight=False, markup=False)

    def flush(self) -> None:
        """Bring all rows to disk."""
        if self._rows:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write("".join(self._rows))
        self._rows = []
        self._flushed = time.monotonic()

    def _add(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._rows.append(json.dumps({"step": step, "epoch": round(epoch, 4), **plain}) + "\n")
        self._tracker.metrics({name: value for name, value in values.items() if math.isfinite(value)}, step)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()


class SilentReporter(Reporter):
    """What the other processes have: they say nothing."""

    def __init__(self) -> None:
        self._rows = []

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def step(self, _step: int, _epoch: float, _values: Mapping[str, float]) -> None:
        """Nothing."""

    def validation(
        self, _step: int, _epoch: float, _scores: Mapping[str, float], _picture: NDArray[np.uint8] | None
    ) -> None:
        """Nothing."""

    def say(self, _message: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


def progress_bar(wanted: bool | None) -> Progress:
    """A bar on standard error; None: only where that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal if wanted is None else wanted
    return Progress(*columns, console=console, disable=not shown)


@contextmanager
def follow(out: Path, total: int, *, bar: bool | None = None) -> Iterator[None]:
    """A progress bar of a run that goes on in other processes, by its `metrics.jsonl`; `bar` as in `progress_bar`.

    Without one, a line in the log every half minute, and one for each validation.
    """
    shown = progress_bar(bar)
    stopped = threading.Event()
    task = shown.add_task("Training", total=total, note="starting")

    def work() -> None:
        at, said = 0, time.monotonic()
        while not stopped.wait(0.5):
            at, row = _last_row(out / METRICS_FILE, at)
            if row and row.get("train_total") is not None:
                shown.update(task, completed=row["step"], note=f"loss {row['train_total']:.3f}")
                if shown.disable and time.monotonic() - said > _LINE_SECONDS:
                    said = time.monotonic()
                    logger.info("Step %d of %d, loss %.4f", row["step"], total, row["train_total"])
            elif row and "val_ari" in row:
                line = f"Epoch {row['epoch']:g}: val_ari {row['val_ari']:.3f}"
                if shown.disable:
                    logger.info("%s", line)
                else:
                    shown.console.print(line, highlight=False)

    with shown:
        thread = threading.Thread(target=work, name="linegroup-follow", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def _last_row(path: Path, at: int) -> tuple[int, dict[str, Any] | None]:
    """The last whole row after position `at`, and where it ends."""
    size = path.stat().st_size if path.exists() else 0
    with path.open("rb") if size else io.BytesIO() as stream:
        # A file that has become shorter was cut back for a resumed run.
        stream.seek(at if at <= size else 0)
        *lines, rest = stream.read().split(b"\n")
        return stream.tell() - len(rest), json.loads(lines[-1]) if lines else None


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`; a last line that was cut off by a kill is left out."""
    path = out / METRICS_FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def tidy_reports(out: Path) -> None:
    """Remove what killed writers left of a run's records and pictures; for its only writer, before it begins."""
    remove_temporaries(out, METRICS_FILE, "run.json")
    remove_temporaries(out / "pictures", "epoch-*.png")


def _cut(path: Path, last: int) -> None:
    rows = read_metrics(path.parent)
    kept = [row for row in rows if row["step"] <= last]
    if path.exists():
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
