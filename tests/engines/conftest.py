"""One session of Spark for all tests, and what `tests/python` shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from support import runs


def pytest_configure() -> None:
    os.environ.setdefault("FIRST_SEED", str(runs.new_seed()))


def pytest_report_header() -> str:
    """How to draw the same generated cases again."""
    return f"generated cases: {'all' if runs.LONG else 'few'}, FIRST_SEED={runs.first_seed()}"


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Spark in this process."""
    from support.spark import running_spark

    with running_spark(tmp_path_factory.mktemp("spark")) as started:
        yield started
