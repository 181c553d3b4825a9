"""The service for `serve run serve.app:build` and for the config file of a cluster."""

# Annotations must be types here, not text: Ray Serve looks at the type of `args` to check what it is given.
from ray.serve import Application

from linegroup.distributed.serving.application import build as build_application
from linegroup.distributed.serving.arguments import ServiceArguments


def build(args: ServiceArguments) -> Application:
    """The application; settings (sign-in, limits) come from the environment, as `.env.example` lists them."""
    return build_application(args)
