"""The groupers by name, and the object that validation, prediction, tuning and serving call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linegroup.config import GroupingConfig
from linegroup.errors import UserError, unknown_name
from linegroup.grouping.candidates import OF_PIXELS
from linegroup.grouping.colour import group_colour
from linegroup.grouping.components import group_components
from linegroup.grouping.embedding import group_dbscan, group_hdbscan, group_margin
from linegroup.grouping.libraries import group_hdbscan_library, group_sklearn_dbscan
from linegroup.grouping.link import group_link
from linegroup.grouping.mixtures import group_gmm, group_kmeans
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Field, Groups
from linegroup.targets import MOST_LINES

GROUPERS: dict[str, Callable[[Workspace, GroupingConfig], Groups]] = {
    "dbscan": group_dbscan,
    "hdbscan": group_hdbscan,
    "margin": group_margin,
    "link": group_link,
    "colour": group_colour,
    "kmeans": group_kmeans,
    "gmm": group_gmm,
    "components": group_components,
    "sklearn_dbscan": group_sklearn_dbscan,
    "hdbscan_library": group_hdbscan_library,
}
"""Methods by name."""


def _clustered(_config: GroupingConfig) -> set[str]:
    return {"embedding", "crossing"}


def _linked(config: GroupingConfig) -> set[str]:
    return {"foreground", "tangent", *(["embedding"] if config.embedding_cost else [])}


def _nothing(_config: GroupingConfig) -> set[str]:
    return set()


READS: dict[str, Callable[[GroupingConfig], set[str]]] = {
    "dbscan": _clustered,
    "hdbscan": _clustered,
    "margin": _clustered,
    "link": _linked,
    "colour": _nothing,
    "kmeans": _nothing,
    "gmm": _nothing,
    "components": _nothing,
    "sklearn_dbscan": _clustered,
    "hdbscan_library": _clustered,
}
"""What of a model's maps each method reads, by the names of their heads: the others need not be asked."""


def maps_read(config: GroupingConfig) -> frozenset[str]:
    """The heads of a model whose maps change anything: for the candidates, or for how they are grouped.

    Raises:
        UserError: there is no grouper of that name.
    """
    if config.method not in READS:
        raise unknown_name("grouper", config.method, READS)
    of_candidates = set() if config.candidates in OF_PIXELS else {"foreground"}
    return frozenset(READS[config.method](config) | of_candidates)


class Grouper:
    """Groups a field, and groups it again with other settings without starting from nothing.

    Args:
        config: The settings of `fit`, and those that `refit` changes.
    """

    def __init__(self, config: GroupingConfig) -> None:
        self.config = config
        self._workspace: Workspace | None = None

    def fit(self, field: Field) -> Groups:
        """The lines among a picture's candidate pixels, by the method that the settings name.

        Raises:
            UserError: there is no grouper of that name, it needs a model's features and there are none, or
                it finds more lines than a label image has numbers.
            WorkExceeded: it needs more than `max_work`, and `over_work` is "error".
        """
        self._workspace = Workspace(field)
        return self._group(self.config)

    def refit(self, **changes: Any) -> Groups:
        """The lines of the same field with some settings changed: `refit(eps=0.4)`.

        Trees, neighbour distances and spanning trees of the features are kept from call to call. The candidates stay as
        they were chosen, whatever would be chosen for another method.

        Raises:
            UserError: nothing was fitted yet, or as `fit`; an unknown setting or a value out of range.
        """
        if self._workspace is None:
            raise UserError("Grouper.refit needs a field: call fit(field) first.")
        return self._group(self.config.changed(changes))

    def _group(self, config: GroupingConfig) -> Groups:
        assert self._workspace is not None
        if config.method not in GROUPERS:
            raise unknown_name("grouper", config.method, GROUPERS)
        groups = GROUPERS[config.method](self._workspace, config)
        if groups.count > MOST_LINES:
            raise UserError(f"{groups.count} groups; labels have {MOST_LINES} numbers. Raise grouping.min_pixels.")
        return groups
