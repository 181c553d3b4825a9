"""Checkpoints: everything that a run needs to go on as if it had not been stopped.

A folder holds `last.pt`, the one before it (`last.1.pt`), `best.pt` and `final.pt`. Each is written
atomically and carries a digest of its own content, since the zip container notices no flipped bit.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linegroup.errors import UserError
from linegroup.files import TEMPORARY, remove_temporaries, write_bytes

logger = logging.getLogger(__name__)

LAST, PREVIOUS, BEST, FINAL = "last.pt", "last.1.pt", "best.pt", "final.pt"
SCHEMA = "linegroup.checkpoint/1"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a run after `step` optimizer steps.

    The random state is no tensor: all randomness of step t of rank r comes from (seed, t, r).

    Attributes:
        step: Number of steps done, the skipped ones included.
        seed: Where all random numbers come from, together with the step.
        settings: What must be the same for the run to go on (`dotted.key`: value).
        model: Parameters and buffers.
        optimizer: Its `state_dict`.
        scaler: `state_dict` of the gradient scaler; empty without one.
        best: What chose `best.pt` (see `validation.merit`); None before the first validation.
        metrics: The scores at `best`, or the latest losses.
        bad_batches: How many batches were skipped, and how many of them since the last good one.
        run_id: The tracked run.
    """

    step: int
    seed: int
    settings: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best: tuple[float, float] | None
    metrics: dict[str, float]
    bad_batches: tuple[int, int] = (0, 0)
    run_id: str | None = None


def save_checkpoint(folder: Path, name: str, state: Checkpoint) -> None:
    """Write `folder/name` atomically; for `last.pt`, the one before stays as `last.1.pt`.

    Raises:
        UserError: it could not be written (disk full); the earlier checkpoints are untouched.
    """
    tree = {field.name: getattr(state, field.name) for field in fields(state)}
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, "digest": digest(tree), **tree}, buffer)
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name == LAST and path.exists():
            _link(path, folder / PREVIOUS)
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UserError(
            f"Cannot write the checkpoint {path}: {error.strerror}. The earlier one is untouched: make room or correct"
            " the rights, then run the same command again; it goes on from there."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and check its digest. Nothing in the file is executed.

    Raises:
        UserError: missing, damaged, or not one of ours.
    """
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"There is no checkpoint {path}.") from None
    # What torch raises for a damaged file depends on where the damage is: almost anything.
    except Exception as error:
        raise UserError(f"The checkpoint {path} is damaged or holds code: {_first_line(error)}") from None
    if not isinstance(tree, dict) or tree.pop("schema", None) != SCHEMA:
        raise UserError(
            f"{path} is no checkpoint of linegroup ({SCHEMA}); `linegroup models import` reads foreign ones."
        )
    found = tree.pop("digest", None)
    if {field.name for field in fields(Checkpoint)} != set(tree) or _digest_if_any(tree) != found:
        raise UserError(f"The checkpoint {path} is damaged: its content is not what its digest says.")
    return Checkpoint(**tree)


def _digest_if_any(tree: Any) -> str:
    try:
        return digest(tree)
    # A damaged file may hold tensors of kinds that have no bytes (sparse, quantized).
    except Exception:
        return ""


def find_checkpoint(folder: Path) -> tuple[Checkpoint, Path] | None:
    """The newest good checkpoint of a run, or None where there is none at all.

    Raises:
        UserError: there are checkpoints, and all are damaged.
    """
    present = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    problems = []
    for path in present:
        try:
            state = load_checkpoint(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            logger.warning("%s Going on from %s, step %d.", " ".join(problems), path, state.step)
        return state, path
    if problems:
        raise UserError(f"{' '.join(problems)} No good checkpoint is left: train into a new folder (training.out).")
    return None


def tidy_checkpoints(folder: Path) -> None:
    """Remove what killed writers left among the checkpoints of a run; for its only writer, before it begins."""
    link = _other_name(folder / PREVIOUS)
    link.unlink(missing_ok=True)
    remove_temporaries(folder, LAST, PREVIOUS, link.name, BEST, FINAL)


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Compare the settings that a run depends on.

    Raises:
        UserError: some differ; the message names each with both values.
    """
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if keys:
        changes = "; ".join(f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}" for key in keys)
        raise UserError(
            f"{where} belongs to another run: {changes}. Put these back, or train into a new folder (training.out)."
        )


def digest(tree: Any) -> str:
    """SHA-256 of nested dictionaries, lists, numbers, text and tensors, as far as their values go."""
    state = hashlib.sha256()
    _feed(state, tree)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        state.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        state.update(f"map {len(value)};".encode())
        for key, item in value.items():
            state.update(f"{key!r}:".encode())
            _feed(state, item)
    elif isinstance(value, list | tuple):
        state.update(f"list {len(value)};".encode())
        for item in value:
            _feed(state, item)
    else:
        state.update(f"{value!r};".encode())


def _link(path: Path, other: Path) -> None:
    """`other` becomes another name of the file at `path`; both exist at every moment from then on."""
    temporary = _other_name(other)
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:
        # Some shared file systems have no hard links.
        write_bytes(temporary, path.read_bytes())
    temporary.replace(other)
    # It stays where both names were the same file already: a save that was killed right after this.
    temporary.unlink(missing_ok=True)


def _other_name(path: Path) -> Path:
    return path.with_suffix(TEMPORARY)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
