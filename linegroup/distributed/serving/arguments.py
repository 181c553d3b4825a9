"""What the application of the service can be told when it is deployed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Replicas = Annotated[int, Field(ge=1, le=1000)]


class ServiceArguments(BaseModel):
    """`args` of the application in `serve/config.yaml` and of `serve run serve.app:build name=value …`.

    How many replicas there are, what they may use and how long they wait can also be said for each deployment in the
    `deployments` of the config file, which comes before this.

    Attributes:
        model: In place of the setting MODEL_URI.
        embedder_cpus: CPUs of an embedder: threads of its network.
        embedder_gpus: GPUs of an embedder, parts allowed; None: one where the cluster has some now.
        max_embedders: Replicas at most; there is always one (see the config file for none).
        max_clusterers: Likewise.
        clusterer_cpus: CPUs of a clusterer.
        warm_methods: Groupers that a clusterer tries before it takes work; None: all of them, so that no client waits
            while a loop is loaded or compiled.
        batch: Pictures that go through the network together on a GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    embedder_cpus: PositiveFloat = 1.0
    embedder_gpus: NonNegativeFloat | None = None
    max_embedders: Replicas = 1
    max_clusterers: Replicas = 2
    clusterer_cpus: PositiveFloat = 1.0
    warm_methods: tuple[str, ...] | None = None
    batch: PositiveInt = 8
