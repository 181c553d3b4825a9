"""`run.json`: which MLflow run a run folder belongs to."""

from __future__ import annotations

import json
from pathlib import Path

from linegroup.files import write_text
from linegroup.training.mlflow_access import public_uri

RUN_FILE = "run.json"


def run_of(out: Path, uri: str) -> str | None:
    """The id of the run at `uri` that a run folder belongs to, if it remembers one."""
    return read(out, uri).get("run_id")


def read(out: Path, uri: str) -> dict[str, str]:
    """What a run folder remembers of its run at `uri`: `key`, and `run_id` once it was made.

    Of a run elsewhere `key` alone: the same server may have another address today.
    """
    try:
        known = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    names = ("key", "run_id") if public_uri(str(known.get("uri"))) == public_uri(uri) else ("key",)
    return {name: str(known[name]) for name in names if name in known}


def write(out: Path, uri: str, **names: str) -> None:
    """Remember `key` and `run_id` of a run at `uri`; the user's password is not written."""
    write_text(out / RUN_FILE, json.dumps({**names, "uri": public_uri(uri)}) + "\n")
