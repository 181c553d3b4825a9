"""Samples as a folder of Parquet files: rows and their schema, the manifest, reading by number or in order."""

from linegroup.shards.manifest import (
    MANIFEST,
    REJECTS,
    SCHEMA,
    Manifest,
    ShardFile,
    Source,
    SplitCounts,
    category_name,
    load_manifest,
    save_manifest,
)
from linegroup.shards.reader import ShardSet
from linegroup.shards.rows import ROW_GROUP_ROWS, from_table, to_table
from linegroup.shards.writer import is_intact, split_of, write_shard

__all__ = [
    "MANIFEST",
    "REJECTS",
    "ROW_GROUP_ROWS",
    "SCHEMA",
    "Manifest",
    "ShardFile",
    "ShardSet",
    "Source",
    "SplitCounts",
    "category_name",
    "from_table",
    "is_intact",
    "load_manifest",
    "save_manifest",
    "split_of",
    "to_table",
    "write_shard",
]
