"""The manifest of a shard folder: what it holds, where it came from, and how to check it.

It is written last: a folder without one is the work of a job that has not finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linegroup.errors import UserError, plainly, unknown_name
from linegroup.files import write_text

MANIFEST = "manifest.json"
REJECTS = "rejects.jsonl"
SCHEMA_NAME = "linegroup.shards"
SCHEMA_VERSION = 2
READABLE = frozenset({1, 2})
"""Versions that can be read: 1 knew no `runs`."""
SCHEMA = f"{SCHEMA_NAME}/{SCHEMA_VERSION}"
"""Stands in the manifest and in the metadata of every shard; grows with every change of the columns' meaning."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ShardFile(_Record):
    """One Parquet file.

    Attributes:
        path: Relative to the shard folder, with `/`.
        split: Split that all its samples belong to.
        rows: Number of samples.
        lines: Number of their instances.
        first_id: Smallest sample id in it.
        last_id: Largest sample id in it.
        bytes: Size of the file.
        sha256: Hexadecimal SHA-256 of the file.
    """

    path: str
    split: str
    rows: int
    lines: int
    first_id: int
    last_id: int
    bytes: int
    sha256: str


class SplitCounts(_Record):
    """What one split holds: samples, lines, files."""

    samples: int
    lines: int
    files: int


class Source(_Record):
    """The annotation file that the shards were made of: its name, its SHA-256, the pictures it names."""

    annotations: str
    sha256: str
    images: int


class Manifest(_Record):
    """Everything that is known of a shard folder; equal for equal input and settings, wherever it was made.

    Attributes:
        schema_: Name and version of the layout, `linegroup.shards/2`.
        written_by: Version of linegroup.
        key: Digest of input and settings; a job with the same key has nothing to do here.
        samples: Number of samples.
        lines: Number of instances of all samples.
        rejects: Number of records that were left out; `rejects.jsonl` names each with its reason.
        splits: Counts by split.
        categories: Category names by number, as the source has them.
        source: Where it came from.
        settings: The job's settings that the content depends on.
        files: All shards, by split, then by id.
        made: Shard parts worked on by the call that returned this object, 0 where there was nothing to do;
            not stored.
    """

    schema_: str = Field(SCHEMA, alias="schema")
    written_by: str
    key: str
    samples: int
    lines: int
    rejects: int
    splits: dict[str, SplitCounts]
    categories: dict[int, str]
    source: Source
    settings: dict[str, Any]
    files: tuple[ShardFile, ...]
    made: int = Field(0, exclude=True)

    def summary(self) -> dict[str, Any]:
        """The counts in one small JSON object, as programs print it."""
        return {
            "samples": self.samples,
            "lines": self.lines,
            "rejects": self.rejects,
            "splits": {name: counts.samples for name, counts in self.splits.items()},
            "parts_made": self.made,
        }


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `folder/manifest.json` atomically."""
    text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    write_text(folder / MANIFEST, text + "\n")


def load_manifest(folder: Path) -> Manifest:
    """Read and check `folder/manifest.json`.

    Raises:
        UserError: there is none (the job has not finished), it is damaged, or of another schema version.
    """
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(_missing(folder)) from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {plainly(error)}. Make the shards again with --overwrite.") from None
    check_schema(tree.get("schema") if isinstance(tree, dict) else None, path)
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is damaged: {key}: {first['msg']}. Make the shards again with --overwrite.") from None


def category_name(category: str | None, categories: Mapping[int, str], where: Path) -> str | None:
    """The name of a category given by name or number; samples know names, manifests both.

    Args:
        category: Name, number as text, or None for all. A name that reads like a number is a name first.
        categories: Names by number, of one manifest: the next may number them otherwise.
        where: The shard folder, for the message.

    Raises:
        UserError: the shards have no such category.
    """
    if category is None or category in categories.values():
        return category
    numbers = {str(number): name for number, name in categories.items()}
    if category not in numbers:
        raise unknown_name(f"category of the shards {where}", category, [*categories.values(), *numbers])
    return numbers[category]


def check_schema(found: object, where: Path) -> None:
    """Refuse shards and manifests of another layout.

    Raises:
        UserError: `found` is not the schema that this version reads; the message says what to do.
    """
    name, _, number = str(found).partition("/")
    if name == SCHEMA_NAME and number.isdecimal() and int(number) in READABLE:
        return
    if name != SCHEMA_NAME or not number.isdecimal():
        raise UserError(f"{where} was not written by linegroup: its schema is {found!r}, expected {SCHEMA!r}.")
    if int(number) > SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema {found}, newer than {SCHEMA}, the newest that this version reads. Update linegroup."
        )
    raise UserError(f"{where} has schema {found}, but this version reads {SCHEMA}. Make the shards again.")


def _missing(folder: Path) -> str:
    if folder.is_file():
        annotations = folder if folder.suffix == ".json" else "A.json"
        return f"{folder} is a file, not a shard folder. {_making(annotations, 'SHARDS')}, and give SHARDS."
    if not folder.is_dir():
        return f"There is no shard folder {folder}. {_making('A.json', folder)}."
    return (
        f"{folder} has no {MANIFEST}: it is no shard folder, or the job that writes it has not finished. Run that job"
        f" again: it does only what is missing. {_making('A.json', 'SHARDS')}."
    )


def _making(annotations: str | Path, out: str | Path) -> str:
    return (
        f"Shards are made of COCO annotations: `linegroup shard --annotations {annotations} --images DIR --out {out}`"
        " (with `--split val` all charts are for scoring)"
    )
