"""Which checkpoint a run goes on from: `training.resume`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from linegroup.errors import UserError
from linegroup.training.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

logger = logging.getLogger(__name__)


def prepare_resume(resume: str, folder: Path, check: Callable[[Checkpoint, Path], None]) -> None:
    """Put the checkpoint that `resume` names, and its best one, where `auto` finds them.

    Args:
        resume: `training.resume`: auto, none, or the path of a checkpoint.
        folder: `checkpoints` of the run folder, absolute.
        check: Refuses a checkpoint that the run cannot go on from; called before anything is written.

    Raises:
        UserError: `resume` does not fit the state of the folder, or the checkpoint is missing or damaged.
    """
    used = any((folder / name).exists() for name in (LAST, PREVIOUS))
    if resume == "auto":
        found = find_checkpoint(folder)
        if found is not None:
            check(*found)
        return
    if resume == "none":
        if used:
            raise UserError(
                f"{folder.parent} holds a run already. Go on with it (training.resume=auto), or train into a new"
                " folder (training.out)."
            )
        return
    path = Path(resume).absolute()
    state = load_checkpoint(path)
    if used and path.parent != folder:
        raise UserError(
            f"{folder.parent} holds another run: to go on from {path}, train into a new folder (training.out)."
        )
    check(state, path)
    best = _best_of(state, path.parent)
    if best is None:
        (folder / BEST).unlink(missing_ok=True)
        state = replace(state, best=None, metrics={})
    elif path.parent != folder:
        save_checkpoint(folder, BEST, best)
    save_checkpoint(folder, LAST, state)
    # Back within the same run: what came later is given up.
    (folder / PREVIOUS).unlink(missing_ok=True)


def _best_of(state: Checkpoint, folder: Path) -> Checkpoint | None:
    """The best checkpoint in `folder`, if it is the one that `state` knows: a later one has scores of its own."""
    if state.best is None or not (folder / BEST).exists():
        return None
    try:
        best = load_checkpoint(folder / BEST)
    except UserError as error:
        logger.warning("%s The best checkpoint is chosen anew.", error)
        return None
    return best if best.best == state.best else None
