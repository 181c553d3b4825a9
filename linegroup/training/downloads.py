"""Models that are elsewhere: fetched by MLflow into a folder that goes with the process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from linegroup.errors import UserError
from linegroup.training.artifact import is_artifact


def download(uri: str, source: str, reference: str) -> Path:
    """The artifact folder of a model that MLflow keeps at `source`; called within `explained`.

    Raises:
        UserError: `reference`, as the user named it, is no model of linegroup.
    """
    from mlflow.artifacts import download_artifacts

    # What lies here is read where it is; the rest goes with this process, which has read it into memory.
    here = urlsplit(source).scheme in ("", "file")
    place = None if here else tempfile.mkdtemp(dir=_downloads())
    folder = Path(download_artifacts(artifact_uri=source, tracking_uri=uri, dst_path=place)) / "artifact"
    if not is_artifact(folder):
        raise UserError(f"{reference} holds no model of linegroup (there is no artifact in {source}).")
    return folder


def discard(folder: Path) -> None:
    """Remove an artifact folder that was downloaded, now that it has been read; any other one stays."""
    if _downloads.cache_info().currsize and Path(_downloads()) in folder.parents:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _downloads() -> str:
    folder = tempfile.mkdtemp(prefix="linegroup-models-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
