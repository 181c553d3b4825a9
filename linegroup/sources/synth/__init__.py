"""Generated samples without end: `rng -> Sample` behind one door, `open_stream`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from linegroup.config import settings_tree
from linegroup.errors import UserError, unknown_name
from linegroup.sources.synth.charts import CATEGORY, chart_stream
from linegroup.sources.synth.validation import validation_stream

__all__ = [
    "CATEGORY",
    "SCHEME",
    "STREAMS",
    "SampleStream",
    "absolute_source",
    "chosen_numbers",
    "is_stream",
    "open_stream",
]

SCHEME = "synth:"
"""What the name of a generated source begins with."""


class SampleStream(Protocol):
    """Samples without end; each is a pure function of its number, in every process and in any order."""

    @property
    def digest(self) -> str:
        """Names exactly this stream: generator, version, seed and distribution."""

    def read(self, number: int) -> Any:
        """The `Sample` of a number ≥ 0; its id is the number."""


STREAMS: dict[str, Callable[[Mapping[str, Any]], SampleStream]] = {
    "charts": chart_stream,
    "validation": validation_stream,
}
"""Generators by name: settings (nested) -> stream."""


def is_stream(source: str) -> bool:
    """Whether a source's name is that of a generated one."""
    return source.startswith(SCHEME)


def absolute_source(source: str) -> str:
    """The name with the path of its `config` absolute, for processes that work in other folders."""
    name, _, query = source.partition("?")
    pairs = _pairs(source, query)
    if not any(key == "config" for key, _ in pairs):
        return source
    return f"{name}?{urlencode([(k, str(Path(v).absolute()) if k == 'config' else v) for k, v in pairs])}"


def open_stream(source: str) -> SampleStream:
    """The stream of a name such as `synth:charts`, `synth:charts?seed=7` or `synth:charts?config=my.yaml&grid=0`.

    After `?`: `seed`, `config` (a YAML file of the distribution), and dotted settings of it with values in
    YAML syntax, joined by `&`.

    Raises:
        UserError: no such generator, an unknown setting, or a value out of range.
    """
    name, _, query = source.removeprefix(SCHEME).partition("?")
    if not is_stream(source) or name not in STREAMS:
        raise unknown_name("generated source", source, [SCHEME + known for known in STREAMS])
    pairs = _pairs(source, query)
    config = next((Path(value) for key, value in pairs if key == "config"), None)
    overrides = [f"{key}={value}" for key, value in pairs if key != "config"]
    return STREAMS[name](settings_tree(config, overrides))


def chosen_numbers(source: str, first: int, count: int | None, default: int) -> range:
    """Numbers of the samples asked for: `count` from `first` on; without it all of a source that ends, or `default`.

    Raises:
        UserError: the source has fewer.
    """
    stream = open_stream(source)
    size = len(stream) if isinstance(stream, Sized) else None
    if count is None:
        count = default if size is None else max(1, size - first)
    if size is not None and first + count > size:
        raise UserError(
            f"{source} has {size} charts, 0 to {size - 1}; {count} from number {first} on go beyond its end."
        )
    return range(first, first + count)


def _pairs(source: str, query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UserError(f"{source}: after ? write settings as key=value, joined by &.") from None
