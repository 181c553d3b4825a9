"""What every job that makes a folder part by part has: its plan, the records of its unfinished work; no Ray in here.

A part is a range of numbers of the input. Nothing it writes depends on another part, so parts run anywhere,
in any order, again.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic import Field as Setting

from linegroup import __version__
from linegroup.config import Section
from linegroup.errors import UserError, plainly, unknown_name
from linegroup.files import write_text
from linegroup.shards import REJECTS

PARTIAL = ".partial"
"""Folder below the output that holds what a job needs to go on after a kill; gone when it has finished."""


class PartedJob(Section):
    """A job whose output is a folder, made part by part; its input and settings are those of a subclass.

    Values out of range and unknown names raise `UserError`.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    out: Path = Setting(description="Output folder; new, or one of an earlier run of this job.")
    overwrite: bool = Setting(False, description="Replace finished output of other input or settings.")

    inputs: ClassVar[tuple[str, ...]] = ()
    """Fields that say where the input lies: what they lead to counts, by `digest`, not the path."""

    beside: ClassVar[tuple[str, ...]] = ("out", "overwrite")
    """Further fields that do not change what is made."""

    schema_name: ClassVar[str]
    """Name and version of the output's layout."""

    _title: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(f"{self._title}: " + "; ".join(self._explain(dict(e)) for e in error.errors())) from None

    def input_digest(self) -> str:
        """Names the input by its content."""
        raise NotImplementedError

    def cut(self, folder: Folder) -> Plan:
        """The parts of the input, written below `folder` where they need files.

        Raises:
            UserError: the input cannot be used.
            OSError: something could not be written.
        """
        raise NotImplementedError

    @property
    def input_name(self) -> str:
        """The input in a word, for messages and the manifest."""
        raise NotImplementedError

    def absolute(self) -> Self:
        """With absolute paths: other processes work in other folders."""
        paths = {name: value.absolute() for name, value in self if isinstance(value, Path)}
        return self.model_copy(update=paths)

    def settings(self) -> dict[str, Any]:
        """What the content depends on, beside the input."""
        return self.model_dump(mode="json", exclude={*self.inputs, *self.beside})

    def key(self, digest: str) -> str:
        """Names input and settings: work of an earlier run is used again only under the same key.

        Args:
            digest: What `input_digest` said.
        """
        text = json.dumps([self.schema_name, __version__, digest, self.settings()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @classmethod
    def _explain(cls, error: dict[str, Any]) -> str:
        key = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            return str(unknown_name("key", key, cls.model_fields))
        message = str(error["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message


def job_settings(recipe: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a YAML file; `flags` that are not None win.

    Raises:
        UserError: the file is missing or no YAML mapping.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        try:
            values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"Cannot read the recipe {recipe}: {plainly(error)}.") from None
        if not isinstance(values, dict):
            raise UserError(f"{recipe} must hold a mapping of settings.")
    return {**values, **{name: value for name, value in flags.items() if value is not None}}


@dataclass(frozen=True)
class Plan:
    """The parts of a job: small, whatever the size of the data.

    Attributes:
        digest: Names the input.
        images: Pictures in it.
        categories: Category names by number.
        ranges: First and last image id of each part.
        parts: File name of each part in the job's folder; "" where it needs none.
        rejects: Number of records refused while cutting; they stand in the job's folder.
    """

    digest: str
    images: int
    categories: dict[int, str]
    ranges: tuple[tuple[int, int], ...]
    parts: tuple[str, ...]
    rejects: int

    def all_parts(self) -> list[Part]:
        """The units of work in the order of the ids."""
        cut = zip(self.parts, self.ranges, strict=True)
        return [Part(number, file, first, last) for number, (file, (first, last)) in enumerate(cut)]


@dataclass(frozen=True)
class Part:
    """One unit of work: its file of records, where it has one, and the range of ids it covers."""

    number: int
    file: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Part of the shards' file names; sorts as the ids do."""
        return f"{self.first:012d}-{self.last:012d}"


class Folder:
    """The paths of one job's unfinished work, `OUT/.partial/<key>/`."""

    def __init__(self, out: Path, key: str) -> None:
        self.root = out / PARTIAL / key
        self.spill = self.root / "parts"
        self.plan = self.root / "plan.json"
        self.rejects = self.root / REJECTS
        self.done = self.root / "done"

    def record(self, part: Part) -> Path:
        """The record of a part that is done."""
        return self.done / f"{part.number:08d}.json"


def make_plan(job: PartedJob, folder: Folder) -> Plan:
    """Cut the input into parts; an earlier run's cut is used again.

    Raises:
        UserError: the input cannot be used.
        OSError: the parts could not be written.
    """
    if folder.plan.is_file():
        return _load_plan(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    write_text(folder.plan, json.dumps(asdict(job.cut(folder))))
    return _load_plan(folder)


def try_plan(job: PartedJob, folder: Folder) -> tuple[Plan | None, str]:
    """As `make_plan`, but errors come as values: Ray would wrap them in its own, with a traceback as the message."""
    try:
        return make_plan(job, folder), ""
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, explain_os_error(error, job.out)


def checked_plan(job: PartedJob, digest: str, plan: Plan | None, error: str) -> Plan:
    """What `try_plan` answered, if it is a plan of the input that `digest` names.

    Raises:
        UserError: it is not.
    """
    if plan is None:
        raise UserError(error)
    if plan.digest != digest:
        raise UserError(f"{job.input_name} changed while it was read. Run the command again when it is complete.")
    return plan


def explain_os_error(error: OSError, out: Path) -> str:
    """A line for the user, saying what to do about a failed write or read."""
    reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"The disk or quota of {out} is full: {reason}. Free some space and run the same command again:"
            " finished parts are kept."
        )
    return f"Cannot go on with {out}: {reason}. Mend that and run the same command again: finished parts are kept."


def _load_plan(folder: Folder) -> Plan:
    tree = json.loads(folder.plan.read_bytes())
    return Plan(
        digest=tree["digest"],
        images=tree["images"],
        categories={int(number): name for number, name in tree["categories"].items()},
        ranges=tuple((first, last) for first, last in tree["ranges"]),
        parts=tuple(tree["parts"]),
        rejects=tree["rejects"],
    )
