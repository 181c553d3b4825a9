"""The grouping settings that a request may give, under the names that users of the reference service know."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from annotated_types import Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model
from pydantic import Field as Setting
from pydantic.fields import FieldInfo

from linegroup.config import GroupingConfig
from linegroup.grouping import CANDIDATES, GROUPERS

NAMES: Mapping[str, str] = MappingProxyType({"method": "clustering_method", "candidates": "candidate_method"})
"""Fields of requests by settings, where they are not called the same."""

KEPT = frozenset({"max_work", "over_work"})
"""Settings that are the server's own."""

MOST: Mapping[str, float] = MappingProxyType(
    {
        "canny_threshold1": 1e5,
        "canny_threshold2": 1e5,
        "eps": 1e6,
        "min_samples": 1e9,
        "min_cluster_size": 1e9,
        "cluster_selection_epsilon": 1e6,
        "auto_eps_k": 1000,
        "spatial_weight": 1000,
        "bandwidth": 1e6,
        "margin": 1e6,
        "most_clusters": 12,
        "crossing_threshold": 1e6,
        "embedding_cost": 1e6,
        "max_candidate_points": 1e9,
        "min_pixels": 1e9,
        "seed": 2**32 - 1,
    }
)
"""Largest values of settings that have no bound of their own: beyond lie rounding, overflow and endless work."""

_CHOICES: Mapping[str, Any] = MappingProxyType(
    {"method": Literal[tuple(GROUPERS)], "candidates": Literal[tuple(CANDIDATES)]}
)


class Form(BaseModel):
    """Base of what a request says beside its pictures: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _number_of_choices(value: Any) -> Any:
    """A form's text as the number that a choice among numbers wants."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _type_of(name: str, info: FieldInfo) -> Any:
    if name in _CHOICES:
        return _CHOICES[name]
    if any(isinstance(choice, int) for choice in get_args(info.annotation)):
        return Annotated[info.annotation, BeforeValidator(_number_of_choices)]
    bounds = [*info.metadata, *([Le(MOST[name])] if name in MOST else [])]
    return Annotated[(info.annotation, *bounds)] if bounds else info.annotation


def _fields() -> dict[str, Any]:
    return {
        NAMES.get(name, name): (_type_of(name, info) | None, Setting(None, description=info.description))
        for name, info in GroupingConfig.model_fields.items()
        if name not in KEPT
    }


GroupingForm: type[Form] = create_model("GroupingForm", __base__=Form, **_fields())
"""Every setting of the grouping, none of them required; those not given are the model's."""

_SETTINGS = {NAMES.get(name, name): name for name in GroupingConfig.model_fields}


def overrides_of(form: Form) -> dict[str, Any]:
    """The settings that a form gives, by the names of `GroupingConfig`."""
    given = form.model_dump(exclude_unset=True, exclude_none=True)
    return {_SETTINGS[name]: value for name, value in given.items() if name in _SETTINGS}
