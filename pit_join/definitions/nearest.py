"""The setting `nearest` of a column: the metric by which its embeddings are searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.settings import Wrong
from pit_join.records.embeddings import METRICS

__all__ = ["read_nearest"]


def read_nearest(meta: Mapping[str, Any], data_type: FieldType, wrong: Wrong) -> str | None:
    """Return the metric of a column's `nearest`; None if the key is missing or cannot be read."""
    metric = meta.get("nearest")
    if metric is None:
        return None
    if metric not in METRICS:
        wrong("nearest", f"must be one of {', '.join(METRICS)}, got {metric!r}")
        return None
    if not data_type.element or data_type.element.number != "float":
        wrong("nearest", f"is for a column of a list of floats, such as float[] or double[64], got {data_type.text!r}")
        return None
    return str(metric)
