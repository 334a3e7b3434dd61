"""Files of training sets read back: those that a build wrote, and those that somebody else made or changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pit_join.errors import PitJoinError
from pit_join.references import OnDemandRequest, Request
from pit_join.training.set_file import read_set
from pit_join.training.spine_hash import spine_hash

AT = datetime(2026, 3, 1, tzinfo=timezone.utc)
SPINE = pa.table({"user_id": [1, 2], "event_timestamp": [AT, AT], "label": ["a", "\x1b[31mred"]})
TABLE = SPINE.append_column("n", pa.array([5, None]))
METADATA = {
    "format": 1,
    "features": ["n"],
    "references": [
        {"view": "plans", "as": "plans", "join_keys": {}, "features": ["n"]},
        {"on_demand": "half", "as": "h", "arguments": {}, "types": {"x": "int"}, "returns": "int", "default": None},
    ],
    "event_timestamp": "event_timestamp",
    "gap": "1 day",
    "full_feature_names": False,
    "provenance": False,
    "defaults": True,
    "window_plan": None,
    "spine": "/etc/passwd",
    "spine_sha256": spine_hash(SPINE),
    "spine_columns": SPINE.column_names,
    "rows": 2,
    "sql": "drop table users",
    "versions": {"pit-join": "1"},
    "coverage": {"plans": {"PRESENT": 1, "NULL_VALUE": 1}},
    "statistics": {"n": {"rows": 2, "nulls": 1, "mean": 5.0, "quantiles": {"0.5": 5}}},
}


def write(path: Path, metadata: Any, table: pa.Table = TABLE) -> Path:
    """A file as a build writes it; metadata may also be the text itself."""
    notes = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    table = table.replace_schema_metadata({"pit_join": notes})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_what_a_file_holds(ending: str, tmp_path: Path) -> None:
    read = read_set(write(tmp_path / f"set.{ending}", METADATA))
    assert read.table.equals(TABLE)
    assert read.spine_columns == ("user_id", "event_timestamp", "label")
    assert read.spine.equals(SPINE)
    assert (read.request.gap, read.request.defaults, read.request.window_plan) == ("1 day", True, None)
    # Types and the result's are SQL, and those of the project count.
    assert read.request.requests == (Request("plans", ("n",), "plans"), OnDemandRequest("half", "h"))
    assert read.described.statistics["n"].quantiles == {"0.5": 5.0}
    assert json.loads(json.dumps(read.as_json()))["coverage"] == METADATA["coverage"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gap": 1}, "the key 'gap' must be a text, got 1"),
        ({"rows": True}, "the key 'rows' must be a whole number, got True"),
        ({"rows": -1}, "the key 'rows' must not be negative"),
        ({"references": []}, "the key 'references' is empty"),
        ({"references": [{"view": "a"}]}, "the key 'as' is missing"),
        (
            {"references": [{"view": "a", "as": "a", "join_keys": None, "features": []}]},
            "'join_keys' must be an object",
        ),
        ({"references": [{"view": "a", "as": "a", "join_keys": {}, "features": []}]}, "the role 'a' needs 'features'"),
        ({"statistics": {"n": {"rows": 1, "nulls": 0, "mean": 10**400}}}, "int too large to convert to float"),
        ({"references": ["a:b"]}, "the key 'references' must be an object, got 'a:b'"),
        ({"references": [{}] * 20_001}, "the key 'references' has 20,001 items, and 20,000 are allowed"),
        ({"features": ["n", "n"]}, "the key 'features' names a column twice"),
        ({"features": ["label"]}, "'label' is both a feature and a column of the spine"),
        ({"features": {"n": 1}}, "the key 'features' must be a list"),
        ({"coverage": {"plans": [1]}}, "the key 'plans' must be an object"),
        ({"statistics": {"n": {"rows": 1, "nulls": "\x1b[31m"}}}, r"must be a whole number, got '\\x1b\[31m'"),
        ({"statistics": {"n": {"rows": 1, "nulls": 0, "mean": "5"}}}, "'mean' must be a number, got '5'"),
        ({"coverage": {"plans": {f"s{n}": 1 for n in range(101)}}}, "'coverage' has 101 statuses, and 100 are allowed"),
        ({"spine_columns": ["x" * 1_001]}, "the key 'spine_columns' has a name of more than 1,000 characters"),
        (
            {"references": [{"view": "a", "as": "a\x00", "join_keys": {}, "features": ["x"]}]},
            r"the name 'a\\x00' has characters that cannot be printed",
        ),
        ({"sql": "x" * 17_000_000}, "has 17,0.* bytes, and 16,777,216 are allowed"),
        ({"format": "1"}, "the key 'format' must be a whole number"),
        ({"sql": "\ud800"}, "it is not JSON"),
    ],
)
def test_metadata_that_no_build_wrote(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(PitJoinError, match=rf"^the metadata of .*set\.parquet cannot be used: .*{says}") as raised:
        read_set(write(tmp_path / "set.parquet", {**METADATA, **change}))
    assert len(str(raised.value)) < 700
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("key", sorted(METADATA.keys() - {"statistics", "format"}))
def test_a_key_that_is_missing(key: str, tmp_path: Path) -> None:
    metadata = {name: value for name, value in METADATA.items() if name != key}
    with pytest.raises(PitJoinError, match=f"the key '{key}' is missing; build the set again"):
        read_set(write(tmp_path / "set.parquet", metadata))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it is not an object of JSON"),
        (b'{"a": 1, "a": 2}', "an object in it has a key twice"),
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b'{"rows": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[" * 10_000 + b"]" * 10_000, "it is nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "it is nested too deeply"),
    ],
)
def test_metadata_that_are_something_else(text: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(PitJoinError, match=f"the metadata of .* cannot be used: {says}"):
        read_set(write(tmp_path / "set.parquet", text))


def test_a_file_of_a_newer_release(tmp_path: Path) -> None:
    with pytest.raises(PitJoinError, match=r"a newer pit-join \(format 2; this one reads up to 1\); upgrade"):
        read_set(write(tmp_path / "set.parquet", {"format": 2, "another": "form"}))


@pytest.mark.parametrize(
    "again",
    [
        lambda old, new: pd.read_parquet(old).to_parquet(new),
        lambda old, new: pl.read_parquet(old).write_parquet(new),
        lambda old, new: duckdb.sql(f"copy (from '{old}') to '{new}'"),
    ],
    ids=["pandas", "polars", "duckdb"],
)
def test_a_file_that_another_program_wrote_again(again: Callable[[Path, Path], Any], tmp_path: Path) -> None:
    again(write(tmp_path / "set.parquet", METADATA), tmp_path / "again.parquet")
    read = read_set(tmp_path / "again.parquet")
    assert (read.metadata, read.table.num_rows) == (None, 2)
    with pytest.raises(PitJoinError, match=r"again\.parquet has no metadata of pit-join; give a file that"):
        _ = read.spine_columns


def test_a_spine_that_was_changed(tmp_path: Path) -> None:
    for changed in (TABLE.slice(1), TABLE.set_column(2, "label", pa.array(["a", "b"])), TABLE.take([1, 0])):
        read = read_set(write(tmp_path / "set.parquet", METADATA, changed))
        with pytest.raises(PitJoinError, match="is not the one that the set was built for"):
            _ = read.request
    with pytest.raises(PitJoinError, match="has lost the column 'label' of its spine"):
        read_set(write(tmp_path / "set.parquet", METADATA, TABLE.drop_columns("label")))


def test_files_that_are_no_training_set(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("user_id,n\n1,2\n")
    with pytest.raises(PitJoinError, match=r"set\.csv is neither .* a CSV file, say, has no metadata: give"):
        read_set(tmp_path / "set.csv")
    for missing in ("none.parquet", "x" * 5000, "a\0b", ""):
        with pytest.raises(PitJoinError, match=r"there is no file|cannot be read"):
            read_set(tmp_path / missing)
    twice = pa.table([pa.array([1]), pa.array([2])], names=["n", "n"])
    with pytest.raises(PitJoinError, match="has the column 'n' twice"):
        read_set(write(tmp_path / "set.arrow", METADATA, twice))


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_truncated_file(ending: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"set.{ending}", METADATA).read_bytes()
    for length in [*range(0, len(whole) - 1, 97), len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(PitJoinError, match="cut "):
            read_set(tmp_path / "cut")
