"""Where a search stands, on disk: Tune's own files in `ray/`, and which training has which folder in `trials/`.

Tune goes on with less than nothing where its files are cut off: it starts anew with one training, and says so only in
its log. So they are looked at first. A training's folder is named after what it tries: where Tune has forgotten a
training, the next one with the same settings goes on where that stood.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import pickle
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from linegroup.files import write_text
from linegroup.tuning.plans import TRAININGS

logger = logging.getLogger(__name__)

STATE = "ray"
_OWNER = "tune_id"
_TUNER = "tuner.pkl"
_EXPERIMENT, _SEARCH, _SEARCHER = "experiment_state-{}.json", "search_gen_state-{}.json", "searcher-state-{}.pkl"
"""What a session of Tune leaves, by the time at which it began; Tune goes on from the newest."""


def find_state(out: Path) -> bool:
    """Whether Tune can go on with the search in `out`; what it could not read is taken out of its way.

    A session that cannot be read is removed, so that Tune goes on from the one before. Where none is left, all of
    Tune's files are: the search begins anew. Folders of trainings that Tune does not know are free then.
    """
    place = out / STATE
    for session in sorted(_sessions(place), reverse=True):
        known = _known_trials(place, session)
        if known and _unpickles(place / _TUNER):
            _release(out / TRAININGS, known)
            return True
        logger.warning("Where the search stood at %s cannot be read: it goes on from what is left.", session)
        for name in (_EXPERIMENT, _SEARCH, _SEARCHER):
            (place / name.format(session)).unlink(missing_ok=True)
    forget(out)
    return False


def forget(out: Path) -> None:
    """Let Tune begin anew; the trainings' own folders stay, free for whoever tries the same."""
    shutil.rmtree(out / STATE, ignore_errors=True)
    _release(out / TRAININGS, ())


def claim_folder(trials: Path, values: Mapping[str, Any], tune_id: str) -> str:
    """The name of the folder of a training; only the process that Tune runs in asks, once for each.

    Args:
        trials: Where the folders are.
        values: What the training tries.
        tune_id: Tune's name of it. Two that try the same have two folders.
    """
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
    for number in itertools.count():
        name = f"{digest}-{number}" if number else digest
        owner = trials / name / _OWNER
        if not owner.exists():
            write_text(owner, tune_id)
            return name
        if owner.read_text(encoding="utf-8") == tune_id:
            return name
    raise AssertionError("counting has no end")


def began(trials: Path, name: str) -> float:
    """When a training took its folder, in seconds since 1970; inf where it never did."""
    try:
        return (trials / name / _OWNER).stat().st_mtime
    except OSError:
        return math.inf


def _release(trials: Path, known: Collection[str]) -> None:
    for owner in trials.glob(f"*/{_OWNER}"):
        if owner.read_text(encoding="utf-8") not in known:
            owner.unlink()


def _sessions(place: Path) -> set[str]:
    """The times at which sessions began that left anything."""
    found = set()
    for name in (_EXPERIMENT, _SEARCH, _SEARCHER):
        before, after = name.split("{}")
        found |= {path.name.removeprefix(before).removesuffix(after) for path in place.glob(name.format("*"))}
    return found


def _known_trials(place: Path, session: str) -> set[str]:
    """Tune's names of the trainings that a session speaks of; empty where it cannot be gone on with."""
    if not all(_unpickles(place / name.format(session)) for name in (_SEARCH, _SEARCHER)):
        return set()
    try:
        tree = json.loads((place / _EXPERIMENT.format(session)).read_text(encoding="utf-8"))
        return {str(json.loads(state)["trial_id"]) for state, _ in tree["trial_data"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _unpickles(path: Path) -> bool:
    """Whether a file of Tune's, which it is about to load itself, is whole."""
    try:
        with path.open("rb") as stream:
            pickle.load(stream)
    # A pickle that is cut off may fail as anything.
    except Exception:
        return False
    return True
