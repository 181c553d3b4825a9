"""The sharding job whose input is a COCO file with its pictures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field as Setting

from linegroup.distributed.parts import Folder, Part, Plan, job_settings
from linegroup.distributed.shard_job import FolderJob, write_rejects
from linegroup.errors import UserError, unknown_name
from linegroup.files import sha256_of, write_atomic
from linegroup.sample import Sample
from linegroup.sources.coco import CocoOptions, Reject, partition_coco, read_part


class ShardJob(FolderJob):
    """COCO annotations and pictures → shards."""

    annotations: Path = Setting(description="COCO file.")
    images: Path = Setting(description="Folder that the COCO file's names are relative to.")
    category: str | None = Setting(None, description="Keep lines of this category only (name or number).")
    dialect: Literal["coco", "bbox_polyline"] = "coco"

    inputs: ClassVar[tuple[str, ...]] = ("annotations", "images")

    def check_input(self) -> None:
        """See `FolderJob`."""
        if not self.annotations.is_file():
            raise UserError(f"There is no annotation file {self.annotations}.")
        if not self.images.is_dir():
            raise UserError(f"There is no image folder {self.images}.")

    def input_digest(self) -> str:
        """SHA-256 of the annotation file."""
        return sha256_of(self.annotations)

    def cut(self, folder: Folder) -> Plan:
        """One file of records per range of image ids."""
        shutil.rmtree(folder.spill, ignore_errors=True)
        folder.spill.mkdir(parents=True)
        cut = partition_coco(self.annotations, folder.spill, self.images_per_part)
        known = [*cut.categories.values(), *map(str, cut.categories)]
        if self.category is not None and self.category not in known:
            raise unknown_name(f"category of {self.annotations.name}", self.category, known)
        write_atomic(folder.rejects, lambda stream: write_rejects(stream, cut.rejects))
        names = tuple(part.name for part in cut.parts)
        return Plan(cut.digest, cut.images, cut.categories, cut.ranges, names, len(cut.rejects))

    def read(self, folder: Folder, categories: dict[int, str], part: Part) -> tuple[list[Sample], list[Reject]]:
        """See `FolderJob`."""
        options = CocoOptions(dialect=self.dialect, category=self.category)
        return read_part(folder.spill / part.file, categories, self.images, options)

    @property
    def looked_in(self) -> str:
        """See `FolderJob`."""
        return f"Pictures were looked for in {self.images} (--images), by their file_name in {self.annotations.name}."

    @property
    def input_name(self) -> str:
        """Name of the annotation file."""
        return self.annotations.name


def load_job(recipe: Path | None, flags: Mapping[str, Any]) -> ShardJob:
    """A job from a YAML file of its settings; `flags` that are not None win.

    Raises:
        UserError: the file is missing or no YAML mapping, a name is unknown, a value out of range or missing.
    """
    return ShardJob(**job_settings(recipe, flags))
