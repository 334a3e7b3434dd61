"""A training set of one feature view, as a dbt model of an engine has it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from run import HERE

from pit_join.project.rendering import Renderer

sys.path.append(str(HERE.parent / "tests" / "python"))

from support.rule_sql import macro_nodes


def training_set(
    engine: str,
    relation: str,
    types: Mapping[str, str],
    indexes: Sequence[Mapping[str, Any]] = (),
    aggregations: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The SQL of all features of the view `history` with the key `user_id`, for the rows of the table `spine`."""
    meta = {"entity": "user", "join_keys": ["user_id"], **({"aggregations": aggregations} if aggregations else {})}
    node = {
        "resource_type": "model",
        "package_name": "pit_join",
        "name": "history",
        "relation_name": relation,
        "original_file_path": "benchmark",
        "columns": {name: {"name": name, "data_type": kind, "config": {}} for name, kind in types.items()},
        "config": {
            "materialized": "table",
            "event_time": "event_timestamp",
            "indexes": indexes,
            "meta": {"pit_join": meta},
        },
    }
    metadata = {"project_name": "pit_join", "adapter_type": engine}
    manifest = {"metadata": metadata, "macros": macro_nodes(), "nodes": {"history": node}, "exposures": {}}
    return str(Renderer(manifest).call("training_set", spine="spine", features=["history:*"]))
