"""Models of the HTTP interface, beside the documents of `linegroup.wire`."""

from __future__ import annotations

from pydantic import Field

from linegroup.wire import ImageRecord, LinesDocument, ModelRecord, Record, Scalar


class ErrorDetail(Record):
    """What went wrong."""

    code: str = Field(description="One word for programs.", examples=["invalid_parameter"])
    message: str = Field(description="What is wrong and what to do, for people.")
    field: str | None = Field(None, description="The field of the request that it is about.")


class ErrorAnswer(Record):
    """Every answer that is not 2xx."""

    error: ErrorDetail
    request_id: str


class ModelInfo(Record):
    """What is loaded; no paths."""

    name: str
    version: str = Field(description="Of the artifact; every answer carries it.")
    registry_version: str | None = Field(
        None, description="Its number in the model registry; null where it is from elsewhere, or that is not known."
    )
    metrics: dict[str, float | None] = Field(description="Validation scores; null where one could not be had.")
    parameters: dict[str, Scalar] = Field(description="Settings of the grouping where a request names none.")


class Health(Record):
    """Whether the service lives, or is ready."""

    status: str = Field(examples=["ok"])


class ClusterMeta(Record):
    """How the clusters were found."""

    parameters: dict[str, Scalar] = Field(description="Every setting of the grouping that was used.")
    image: ImageRecord
    model: ModelRecord
    num_candidates: int = Field(ge=0, description="Pixels that were grouped.")
    notes: tuple[str, ...] = Field((), description="What was done otherwise than asked.")
    timings_ms: dict[str, float] = Field(description="Milliseconds by stage.")


class ClusterAnswer(Record):
    """The answer of `/v1/cluster`."""

    num_clusters: int = Field(ge=0)
    clusters: dict[str, list[tuple[int, int]]] = Field(description="[x, y] of the pixels of clusters 1..K, by id.")
    cluster_pixel_values: dict[str, list[tuple[int, int, int]]] = Field(
        description="[r, g, b] of the same pixels in the same order."
    )
    noise: list[tuple[int, int]] = Field(description="[x, y] of candidates that are in no cluster.")
    meta: ClusterMeta


class LabelledDocument(LinesDocument):
    """`linegroup.lines/1` with one label image in place of the lines' masks."""

    labels_png: str = Field(description="16-bit PNG in base64: 0 = no line, else the line's id.")
