"""`linegroup serve`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from linegroup.cli.common import ModelOption, note


def serve(
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Where it listens.")] = 8000,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="0.0.0.0: all networks; needs sign-in.")] = "127.0.0.1",
    model: ModelOption = None,
    device: Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda.")] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Nobody has to sign in; on this machine only (loopback).")
    ] = False,
    embedders: Annotated[int, typer.Option(min=1, help="Replicas that run the network, at most.")] = 1,
    clusterers: Annotated[int, typer.Option(min=1, help="Replicas that group and trace, at most.")] = 2,
) -> None:
    r"""Serve the lines of pictures over HTTP, from this machine.

    Settings come from the environment or a file `.env`: API_AUTH_PASSWORD (or API_AUTH_TOKEN), MODEL_URI, limits.
    Ctrl-C ends it once the requests that are in are answered; Ctrl-C again ends it at once.

    Examples:
      linegroup serve --no-auth
      API_AUTH_TOKEN=$(openssl rand -hex 24) linegroup serve --host 0.0.0.0 --port 8080
      curl -F file=@chart.png http://127.0.0.1:8000/v1/lines
    """
    from linegroup.serving.settings import ServiceSettings

    given = {"api_auth_enabled": False if no_auth else None, "model_uri": model, "model_device": device}
    settings = ServiceSettings.read(**{name: value for name, value in given.items() if value is not None})
    from linegroup.distributed.serving.arguments import ServiceArguments
    from linegroup.distributed.serving.local import serving, wait_for_end
    from linegroup.serving.loading import check_reference

    arguments = ServiceArguments(
        embedder_cpus=max(1, (os.cpu_count() or 1) // embedders), max_embedders=embedders, max_clusterers=clusterers
    )
    check_reference(settings.model_reference)
    note("Starting; the first time it takes minutes, while loops are compiled.")
    with serving(arguments, settings, host, port) as address:
        note(f"Serving at {address} (page: {address}, API: {address}docs). Ctrl-C stops it.")
        wait_for_end()
        note("Stopping: answering what is in.")
