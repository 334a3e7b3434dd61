"""Values as JSON has them, for programs and for tables."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pit_join.cli.output import shown
from pit_join.json_values import json_text

VALUES: list[tuple[Any, Any, str]] = [
    (None, None, "-"),
    ("é, x", "é, x", "é, x"),
    (True, True, "true"),
    (5, 5, "5"),
    (2**70, 2**70, str(2**70)),
    (0.1, 0.1, "0.1"),
    (float("nan"), "NaN", "NaN"),
    (float("-inf"), "-Infinity", "-Infinity"),
    (Decimal("6.360"), "6.360", "6.360"),
    ([Decimal("6.36"), None], ["6.36", None], '["6.36", null]'),
    ([1.5, float("inf")], [1.5, "Infinity"], '[1.5, "Infinity"]'),
    (["é"], ["é"], '["é"]'),
    (b"\x00\xff", "AP8=", "AP8="),
    (date(2026, 3, 1), "2026-03-01", "2026-03-01"),
    (datetime(2026, 3, 1, 10), "2026-03-01T10:00:00", "2026-03-01T10:00:00"),
    (datetime(2026, 3, 1, 10, tzinfo=timezone.utc), "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
    (np.datetime64("2026-03-01T10:00:00.000000001"), "2026-03-01T10:00:00.000000001", "2026-03-01T10:00:00.000000001"),
    (np.datetime64("-0043-03-15"), "-0043-03-15", "-0043-03-15"),
    (np.datetime64("-0043-03-15T10:00:00.000001"), "-0043-03-15T10:00:00.000001", "-0043-03-15T10:00:00.000001"),
    (np.datetime64(5_000_000, "D"), "15659-07-15", "15659-07-15"),
    (np.datetime64(2**31 - 1, "D"), "infinity", "infinity"),
    ([np.datetime64(1 - 2**31, "D")], ["-infinity"], '["-infinity"]'),
    (np.datetime64(2**63 - 1, "us"), "infinity", "infinity"),
    (np.datetime64(1 - 2**63, "ns"), "-infinity", "-infinity"),
    ({"a": (1, b"x")}, {"a": [1, "eA=="]}, '{"a": [1, "eA=="]}'),
]


@pytest.mark.parametrize(("value", "found", "cell"), VALUES, ids=[repr(value) for value, _, _ in VALUES])
def test_a_value(value: Any, found: Any, cell: str) -> None:
    assert json.loads(json_text(value)) == found
    assert shown(value) == cell


def test_what_has_no_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        json_text([object()])
