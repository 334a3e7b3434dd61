"""The skew report says of generated cases what the oracles say: match, stale, different or, of static views, changed.

A case is exported as of one instant and read at others, by random lags and ttls; in some the history is another when
the report is made. What was served is taken from the reader, and what is right from `oracle.py` and `window_oracle.py`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from generate import Case, cases, result_name
from generate_windows import Near, WindowCase, agrees, window_cases
from hypothesis import strategies as st
from online_cases import (
    Exporter,
    Oracle,
    at,
    entity_rows,
    instants,
    loaded,
    plain,
    project_of,
    reading_times,
    requests_of,
)
from support.rule_sql import as_sorted
from support.runs import for_each, number_of
from window_oracle import WindowView

from pit_join.monitoring.feature_log import FeatureLog
from pit_join.monitoring.skew import find_skew
from pit_join.online.protocol import OnlineStore
from pit_join.serving.reader import OnlineReader

pytestmark = pytest.mark.slow

PICK = st.integers(0, 999)
KINDS = ("match", "stale", "different", "changed")
SEEN: Counter[tuple[str, bool]] = Counter()


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        duckdb.connect(config={"threads": 1}) as connection,  # faster with so few rows
    ):
        yield Exporter(connection, tmp_path_factory.mktemp("skew"), monkeypatch)


def altered(case: Case, pick: int) -> Case:
    """The case with one row of one history gone, or with the features of another row."""
    views = [view for view in case.views if len(case.histories[view.name].rows) > 1]
    if not views:
        return case
    view = views[pick % len(views)]
    table = case.histories[view.name]
    rows, number = list(table.rows), pick % len(table.rows)
    if pick % 2 or isinstance(view, WindowView):
        del rows[number]
    else:
        rows[number] = {**rows[number], **{name: rows[number - 1][name] for name in view.features}}
    return replace(case, histories={**case.histories, view.name: replace(table, rows=tuple(rows))})


def serve(
    case: Case, store: OnlineStore, exported: int, moments: list[int], log: FeatureLog, later: Case
) -> Counter[tuple[str, str, str]]:
    """Read all rows at the instants; gives how many values of each feature are of which kind, in the `later` case."""
    reader = OnlineReader(store, requests_of(case), full_feature_names=case.full_feature_names, log=log)
    rows, counts = entity_rows(case), Counter[tuple[str, str, str]]()
    then = Oracle(later, exported)
    for moment in moments:
        found, now = reader.get_online_features(rows, now=at(moment)), Oracle(later, moment)
        values, statuses = found.to_dict(), found.statuses
        for number, row in enumerate(rows):
            right, was_right = (oracle.by_name(row, moment, True) for oracle in (now, then))
            for request in case.requests:
                for feature in request.features:
                    name = result_name(case, request, feature)
                    served = plain(values[name][number]), statuses[name][number]
                    if isinstance(right[name][0], Near) or isinstance(was_right[name][0], Near):
                        counts[request.name, feature, "near"] += 1
                    kind = "match" if equal(served, right[name]) else "stale"
                    other = "changed" if request.view.event_timestamp is None else "different"
                    kind = kind if kind == "match" or equal(served, was_right[name]) else other
                    counts[request.name, feature, kind] += 1
                    SEEN[kind, isinstance(request.view, WindowView)] += 1
    return counts


def equal(served: tuple[Any, str], right: tuple[Any, str, Any]) -> bool:
    value = right[0]
    return served[1] == right[1] and agrees(
        as_sorted(served[0]), value if not isinstance(value, tuple) else as_sorted(value)
    )


def check(exporter: Exporter, case: Case, export_pick: int, read_picks: tuple[int, ...], alter: int | None) -> None:
    manifest, folder = project_of(case), exporter.folder / "log"
    shutil.rmtree(folder, ignore_errors=True)
    moments = instants(case)
    exported = moments[export_pick % len(moments)]
    possible = sorted({*reading_times(case, exported), *(each for each in moments if each >= exported)})
    log = FeatureLog(folder, 1)
    later = case if alter is None else altered(case, alter)
    store = exporter.empty_store()
    with loaded(exporter.connection, case):
        exporter.run(manifest, exported)
        reads = sorted({possible[pick % len(possible)] for pick in read_picks})
        counts = serve(case, store, exported, reads, log, later)
    assert log.close()
    assert (log.logged, log.dropped, log.failed) == (len(reads) * len(entity_rows(case)), 0, 0)
    with loaded(exporter.connection, later):
        found = find_skew(exporter.workspace(manifest), folder)
    assert not found.unread
    reported = Counter(
        {(each.role, each.feature, kind): getattr(each, kind) for each in found.features for kind in KINDS}
    )
    # A float that is added up is right within a tolerance, by which it may be near to both.
    near = {(role, feature) for role, feature, kind in counts if kind == "near"}
    for role, feature in near:
        for kind in (*KINDS, "near"):
            del reported[role, feature, kind], counts[role, feature, kind]
    assert +reported == +counts
    assert not sum(each.fallback + each.not_compared for each in found.features)
    assert {each.view for each in found.stale_views} == {each.view for each in found.features if each.stale}
    if not near:
        assert found.found == any(kind in ("stale", "different") for _, _, kind in +counts)


def test_plain_views(exporter: Exporter) -> None:
    def each(case: Case, export_pick: int, read_picks: tuple[int, ...], alter: int | None) -> None:
        check(exporter, case, export_pick, read_picks, alter)

    SEEN.clear()
    for_each(
        each,
        number_of(6, 80),
        until=lambda: set(SEEN) == {(kind, False) for kind in KINDS},
        case=cases(),
        export_pick=PICK,
        read_picks=st.tuples(PICK, PICK),
        alter=st.none() | PICK,
    )


@pytest.mark.rest
def test_window_views(exporter: Exporter) -> None:
    def each(case: WindowCase, export_pick: int, read_picks: tuple[int, ...], alter: int | None) -> None:
        check(exporter, case, export_pick, read_picks, alter)

    SEEN.clear()
    for_each(
        each,
        number_of(6, 30),
        until=lambda: {kind for kind, windowed in SEEN if windowed} == set(KINDS[:-1]),
        case=window_cases(),
        export_pick=PICK,
        read_picks=st.tuples(PICK, PICK),
        alter=st.none() | PICK,
    )
