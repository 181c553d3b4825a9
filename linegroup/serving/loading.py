"""Which model is served, loaded and checked."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from linegroup.config import TrackingConfig
from linegroup.errors import UserError
from linegroup.predict import NO_MODEL, Predictor, name_of
from linegroup.serving.schema import ModelInfo
from linegroup.training.artifact import PRETRAINED, PRETRAINED_FOLDER, is_artifact, load_artifact
from linegroup.training.downloads import discard
from linegroup.training.importing import import_reference
from linegroup.training.registry import resolve_model


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to serve.

    Attributes:
        predictor: Finds the lines.
        info: What `/model/info` tells.
    """

    predictor: Predictor
    info: ModelInfo


def load_model(
    reference: str | None = None,
    device: str = "auto",
    emb_dim: int | None = None,
    tracking: TrackingConfig | None = None,
) -> Loaded:
    """Load a model: hashes, shapes and values are checked, nothing in it is executed.

    Args:
        reference: As `Predictor.load` takes it, or a checkpoint (`.pt`) of the reference script; None: the packaged
            model.
        device: Where the network runs.
        emb_dim: Size that the embedding must have; None: any.
        tracking: Where the registry is.

    Raises:
        UserError: no such model, a damaged one, or one with another embedding.
    """
    if reference is None:
        reference = PRETRAINED if is_artifact(PRETRAINED_FOLDER) else NO_MODEL
    if reference == NO_MODEL:
        return _loaded(Predictor.load(NO_MODEL, device), {})
    path = Path(reference)
    if path.suffix in (".pt", ".pth", ".ckpt") and path.is_file():
        with tempfile.TemporaryDirectory(prefix="linegroup-") as folder:
            import_reference(path, Path(folder) / "artifact")
            return load_model(str(Path(folder) / "artifact"), device, emb_dim, tracking)
    found = resolve_model(reference, tracking or TrackingConfig())
    try:
        artifact = load_artifact(found)
    finally:
        # A service loads one version after the other for months.
        discard(found)
    width = artifact.config.model.emb_dim
    if emb_dim is not None and width != emb_dim:
        raise UserError(f"MODEL_EMB_DIM is {emb_dim}, but the model's embedding has {width} dimensions.")
    predictor = Predictor.of_artifact(artifact, name_of(reference), device)
    return _loaded(predictor, artifact.metrics)


def check_reference(reference: str | None, tracking: TrackingConfig | None = None) -> None:
    """Look for a model and at its files, without the network: what is missing is said before anything starts.

    Raises:
        UserError: as `load_model`, but for the size of the embedding.
    """
    if reference in (None, NO_MODEL) or Path(str(reference)).is_file():
        return
    found = resolve_model(str(reference), tracking or TrackingConfig())
    try:
        load_artifact(found)
    finally:
        discard(found)


def _loaded(predictor: Predictor, metrics: dict[str, float]) -> Loaded:
    return Loaded(
        predictor,
        ModelInfo(
            name=predictor.name,
            version=predictor.version,
            metrics={name: value if math.isfinite(value) else None for name, value in metrics.items()},
            parameters=predictor.grouping.model_dump(mode="json"),
        ),
    )
