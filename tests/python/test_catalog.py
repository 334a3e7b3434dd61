"""What `pit-join views` says beside the table."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from pit_join.catalog import describe_views
from pit_join.definitions.registry import Registry
from pit_join.workspace import Console


def node(view: dict[str, Any], column: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "logins", "resource_type": "model", "package_name": "shop", "original_file_path": "logins.yml",
        "columns": {
            "id": {"data_type": "bigint"}, "moment": {"data_type": "timestamp"},
            "count": {"data_type": "bigint", "config": {"meta": {"pit_join": column}}},
        },
        "config": {
            "event_time": "moment", "meta": {"pit_join": {"entity": "user", "join_keys": ["id"], **view}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("view", "column", "said"),
    [
        ({}, {}, []),
        ({"freshness_slo": "1 day"}, {}, ["freshness_slo has no effect yet, since no command measures it: logins"]),
        ({}, {"freshness_slo": "1 day"}, ["freshness_slo has no effect yet, since no command measures it: logins"]),
    ],
)
def test_of_a_setting_without_effect_the_user_is_warned(
    view: dict[str, Any], column: dict[str, Any], said: list[str]
) -> None:
    manifest = {"metadata": {"project_name": "shop"}, "nodes": {"logins": node(view, column)}, "exposures": {}}
    heard: list[str] = []
    workspace: Any = SimpleNamespace(
        registry=Registry.from_manifest(manifest),
        macros=None,
        check_on_demand=lambda used, others: None,
        console=Console(warn=heard.append),
        warehouse=lambda: nullcontext(SimpleNamespace(has=lambda location: False)),
    )
    (described,) = describe_views(workspace)
    assert (described["rows"], heard) == (None, said)
