"""Libraries that start threads of their own: on a busy machine these wait for each other in loops that do nothing.

A mixture of a few hundred colours took 15 s that way where one thread takes a tenth of a second.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

LIBRARIES = frozenset({"kmeans", "gmm", "sklearn_dbscan", "hdbscan_library"})
"""Groupers that call scikit-learn or hdbscan."""


def calm(method: str) -> AbstractContextManager[Any]:
    """One thread for the libraries' pools while a grouper runs, if it is one of those that use them."""
    if method not in LIBRARIES:
        return nullcontext()
    # The pools must be there before they can be limited; they come with these, which groupers import when called.
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits
