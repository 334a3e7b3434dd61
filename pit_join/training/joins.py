"""The joins of feature views to a spine in an open warehouse, one view after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, SpineError, option
from pit_join.training.request import TrainingRequest
from pit_join.training.spine import Spine, SpineRows, check_arguments, check_key_values, check_types
from pit_join.warehouse.spool import release_pages
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Histories, Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from pit_join.training.result import Coverage

__all__ = ["ViewJoins", "units_of"]

# The plan `range` takes about a fourth of the time for a pair that the plan `stacked` takes for an event or an instant.
_PAIRS_A_ROW = 4
# A copy of the needed part of a history takes about a third of the time that a join takes for the whole.
_PRUNED_SHARE = 0.25
_LEAST_PRUNED = 200_000  # rows, of which the join takes as long as the estimate of the share
_SAMPLED_ROWS = 20_000
_GIVEN_ROWS = 65_536
_MANY_PAIRS = 20  # for each event and each row of the spine; they then take most of a server's time
_MANTISSA_BITS = 53
_MOST_BITS = 93  # of a value, so that 2^34 of them can be added up in 127


class ViewJoins:
    """The joins of one request; `resolved` is the result of the macro `_resolved_requests`."""

    _stays = False  # whether the rows of the set stay in the warehouse

    def __init__(
        self, workspace: Workspace, histories: Histories, request: TrainingRequest, resolved: Mapping[str, Any]
    ) -> None:
        self._warehouse, self._session, self._histories = histories.warehouse, histories.session, histories
        self._workspace, self._macros = workspace, workspace.macros
        self._request, self._roles, self._computed = request, resolved["requests"], resolved["computed"]
        self._views = {role["view"]: workspace.registry.view(role["view"]) for role in self._roles}
        self._keys: set[tuple[str, FieldType]] = set()
        self._frame: Any = None
        self._rows = 0
        histories.check(self._views.values())

    def prepare(self) -> None:
        """Start to collect the facts that decide how each view is joined: see `Histories`."""
        self._histories.prepare(self._views.values())

    def check_spine(self, source: Spine, names: Sequence[str]) -> SpineRows:
        """Check the spine against the views, and return its rows."""
        event_timestamp = self._request.event_timestamp
        key_types: dict[str, FieldType] = {}
        for role in self._roles:
            view = self._views[role["view"]]
            for key, column in role["keys"].items():
                own = view.key_types[key]
                known = key_types.setdefault(column, own)
                self._keys.add((column, own))
                if known != own and source.kind == "csv":
                    raise SpineError(
                        f"the spine's column '{column}' is a key of type {known} for one view and {own} for "
                        f"'{view.name}'; give the views one type, or use two columns"
                    )
        arguments = {
            argument["column"]: read_type(argument["type"])
            for feature in self._computed
            for argument in feature["arguments"]
            if not argument["reference"]
        }
        rows = source.rows(self._warehouse, key_types, event_timestamp, arguments, whole=self._stays)
        check_types(rows.types, event_timestamp, self._keys, source.label)
        check_arguments(rows, self._computed, source)
        for view in self._views.values():
            if view.relation == rows.relation and (staged := self._histories.staged(view)):
                rows = replace(rows, relation=staged)
        provenance = [f"{r['alias']}__{what}" for r in self._roles for what in ("event_timestamp", "status")]
        taken = {name.lower(): name for name in rows.names}
        for name in [*names, *(provenance if self._request.provenance else [])]:
            if name.lower() in taken:
                full = option("full_feature_names=True", "--full-feature-names")
                mend = "rename the column" if "__" in name else f"use {full}, or rename the column"
                raise SpineError(
                    f"the feature '{name}' and the column '{taken[name.lower()]}' of the spine {source.label} have one "
                    f"name; {mend}"
                )
        return rows

    def load_spine(self, source: Spine, rows: SpineRows) -> int:
        """Copy the checked spine to a temporary table, to which every view is joined, and return its number of rows."""
        what, column, gap = source.unreadable, self._request.event_timestamp, self._request.gap
        time_type = next(kind.name for name, kind in rows.types.items() if name.lower() == column.lower())
        spine = self._macros.text(
            "spine_rows" if rows.frame is None else "_numbered_spine",
            spine=rows.relation,
            event_timestamp=column,
            gap=gap,
            data_type=time_type,
        )
        self._frame = rows.frame
        is_here = self._session is self._warehouse
        # The joins of a server read a copy of their own, so that one in memory would be a second one.
        kind = "table" if is_here or rows.frame is None else "view"
        self._warehouse.execute(f"create or replace temp {kind} _pit_spine as {spine}", what)
        check_key_values(self._warehouse, lambda column: "_pit_spine", rows.types, self._keys, source.label)
        if not is_here:
            self._give_spine(rows, what)
        self._rows = int(self._warehouse.row("select count(*) as rows from _pit_spine", what)["rows"])
        return self._rows

    def _give_spine(self, rows: SpineRows, what: str) -> None:
        """Copy to the server what it needs of the spine, batch by batch."""
        import pyarrow as pa

        spool = self._warehouse.spooled(self._asked_rows(rows), what, None)
        batches = spool.to_batches(_GIVEN_ROWS)
        try:
            self._session.give("_pit_spine", pa.RecordBatchReader.from_batches(spool.schema, batches))
        except PitJoinError:
            spool.leave()
            spool.filling.result()  # the reason, if it is the spine that cannot be read
            raise

    def _asked_rows(self, rows: SpineRows) -> str:
        """Return the SQL of the columns that a server needs of the spine: row numbers, times and keys."""
        types = {name.lower(): kind for name, kind in rows.types.items()}
        columns = ["_pit_row", "_pit_time"]
        for column in sorted({column for role in self._roles for column in role["keys"].values()}):
            name, kind = identifier(column), types[column.lower()]
            # Servers know neither unsigned integers nor enums.
            known = "decimal(38, 0)" if kind.number == "integer" and kind.name[0] in "UH" else None
            known = "varchar" if kind.family == "text" else known
            columns.append(f"cast({name} as {known}) as {name}" if known else f"{name} as {name}")
        return f"select {', '.join(columns)} from _pit_spine"

    def plan(self) -> dict[str, tuple[str, str]]:
        """Return for each role how it is joined, and why."""
        plans = {}
        for role in self._roles:
            plan, why = self._join_plan(role)
            pruned = "; only the rows that the spine needs are joined" if self._is_pruned(role) else ""
            plans[role["alias"]] = plan, why + pruned
        return plans

    def _join_plan(self, role: Mapping[str, Any]) -> tuple[str, str]:
        """Return the plan of a view and its reason: `asof`, `lookup` (static), or for windows `range` or `stacked`."""
        view, facts = self._view_and_facts(role)
        if self._session is not self._warehouse:
            return "portable", f"{facts['rows']:,} rows"
        if not view.aggregations:
            if view.static:
                return "lookup", f"{facts['rows']:,} rows, one for each key"
            late, tied = (bool(facts["unordered"] or facts[what]) for what in ("late", "tied"))
            also = [*(["rows known late"] if late else []), *(["ties"] if tied else [])]
            return "asof", f"{facts['rows']:,} rows" + (f" with {' and '.join(also)}" if also else "")
        if self._request.window_plan:
            return self._request.window_plan, "as asked for"
        pairs = self._estimate("_pairs_statement", role)["pairs"]
        chosen = "range" if pairs <= _PAIRS_A_ROW * (facts["rows"] + self._rows) else "stacked"
        return chosen, f"about {pairs:,.0f} pairs of a spine row and an event, and {facts['rows']:,} events"

    def _is_pruned(self, role: Mapping[str, Any]) -> bool:
        """Return whether the spine needs so little of a view's history that a copy of that part is joined faster."""
        view, facts = self._view_and_facts(role)
        # A newer version of an event may have another key or another time, and a join of the project another rule.
        join = "window_features" if view.aggregations else "point_in_time_join"
        if view.static or view.event_key or facts["rows"] < _LEAST_PRUNED or self._workspace.overrides(join):
            return False
        if self._session is not self._warehouse:
            return False
        percent = f"{100 * min(1, _SAMPLED_ROWS / facts['rows']):.6f}"
        return bool(self._estimate("_share_statement", role, percent=percent)["share"] <= _PRUNED_SHARE)

    def warn_of_pairs(self) -> None:
        """Warn of windows that a server aggregates from very many pairs of a row of the spine and an event."""
        if self._session is self._warehouse:
            return
        for role in self._roles:
            view, facts = self._view_and_facts(role)
            if not view.aggregations or not (statement := self._estimating("_pairs_statement", role)):
                continue
            found = self._session.rows_later(statement, self._cannot_join(role)).result()[0]
            if (pairs := float(found["pairs"])) > _MANY_PAIRS * (facts["rows"] + self._rows):
                self._workspace.console.warn(
                    f"the windows of '{view.name}' are aggregated from about {pairs:,.0f} pairs of a row of the spine "
                    "and an event of its key; counts, and sums and averages of integers and decimals, need none"
                )

    def _estimate(self, macro: str, role: Mapping[str, Any], **options: str) -> dict[str, Any]:
        view = self._views[role["view"]]
        return self._warehouse.row(
            self._estimating(macro, role, **options), f"the feature view '{view.name}' cannot be read"
        )

    def _estimating(self, macro: str, role: Mapping[str, Any], **options: str) -> str:
        """Return the SQL of an estimate."""
        view = self._views[role["view"]]
        return self._workspace.view_macros.text(
            macro,
            alias=role["alias"],
            spine="_pit_spine",
            features=self._request.macro_arguments(role["alias"])["features"],
            options={
                "full_feature_names": self._request.full_feature_names,
                "history": self._histories.staged(view),
                **options,
            },
        )

    def _join(self, role: Mapping[str, Any]) -> Future[pa.Table]:
        """Start to join one view; rows of DuckDB come in any order, others in that of the spine."""
        order_by = None if self._session is self._warehouse else "_pit_row"
        return self._session.table_later(self._statements(role), self._cannot_join(role), order_by)

    def _cannot_join(self, role: Mapping[str, Any]) -> str:
        return f"the feature view '{self._views[role['view']].name}' cannot be joined"

    def _statements(self, role: Mapping[str, Any]) -> list[str]:
        """Return the statements of the plan that a view's table allows; the last one returns the rows of the join."""
        view, facts = self._view_and_facts(role)
        options = {
            "plan": self._join_plan(role)[0] if view.aggregations and self._session is self._warehouse else None,
            "ties": bool(facts["unordered"] or facts["tied"]) and not view.static,
            "late": bool(facts["unordered"] or facts["late"]),
            "floats": dict(units_of(facts)) if view.aggregations else {},
            "history": self._histories.staged(view),
            "pruned": self._is_pruned(role),
            **self._request.macro_arguments(role["alias"]),
        }
        features = options.pop("features")
        return list(
            self._workspace.view_macros.data(
                "_view_statements", alias=role["alias"], spine="_pit_spine", features=features, options=options
            )
        )

    def begin(self) -> Future[pa.Table]:
        """Start to join the first view."""
        return self._join(self._roles[0])

    def collect(
        self, joining: Future[pa.Table], source: Spine, progress: Callable[[int, int, str], None], *, last: bool
    ) -> tuple[Any, list[pa.Table], list[Coverage]]:
        """Return the spine's columns, those of each view in the spine's order, and the coverage of each view.

        `joining` is the join of the first view. The next join runs while the rows of a view are put in order. The
        `last` request to a warehouse releases its files as soon as everything has been read.
        """
        # Not at the top: to load Arrow and NumPy takes Python a while, which passes while DuckDB works.
        from pit_join.training import gather
        from pit_join.training import result as results

        started, total = time.monotonic(), len(self._roles)
        parts, coverage = [], []
        for done, role in enumerate(self._roles):
            progress(done, total, role["alias"])
            table = joining.result()
            if done + 1 < total:
                joining = self._join(self._roles[done + 1])
            else:
                spine = self._read_spine(source)
                releasing = self._warehouse.release() if last else None
            status = self._status(role)
            marked = gather.marked(table, status) if last else table
            part = gather.in_order(marked, self._rows)
            # What came from a server is in a file already.
            parts.append(gather.spilled(part) if self._session is self._warehouse else part)
            started, seconds = time.monotonic(), time.monotonic() - started
            view, facts = self._view_and_facts(role)
            met = results.joined_counts(table, status)
            coverage.append(results.coverage(role["alias"], view, met, facts, seconds))
            release_pages()
        progress(total, total, "")
        own_columns = spine()
        if releasing:
            releasing.result()
        else:
            self._histories.clear("_pit_spine", "_pit_matched", "_pit_pruned")
        return own_columns, parts, coverage

    def _status(self, role: Mapping[str, Any]) -> str:
        return f"{role['alias']}__status" if self._request.provenance else "_pit_status"

    def _read_spine(self, source: Spine) -> Callable[[], Any]:
        """Start to read the spine's columns, and return a function that waits for them."""
        if self._frame is not None:
            return lambda: self._frame
        own = "select * exclude (_pit_row, _pit_time) from _pit_spine"
        reading = self._warehouse.table_later([own], source.unreadable)
        return reading.result

    def _view_and_facts(self, role: Mapping[str, Any]) -> tuple[FeatureView, dict[str, Any]]:
        view = self._views[role["view"]]
        return view, self._histories.facts(view)


def units_of(facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the columns of which one unit is enough to add their floats up exactly, see `window_features`."""
    count_bits = int(facts["dated"]).bit_length()
    for column in facts.get("floats", ()):
        least, greatest = (math.frexp(column[end] or 1.0)[1] for end in ("least", "greatest"))
        bits = greatest - least + _MANTISSA_BITS
        if not column["odd"] and bits <= _MOST_BITS and max(-least, greatest) <= 900:
            fits = bits + 2 * count_bits < 127
            known = {"unit": least - _MANTISSA_BITS, "count_bits": count_bits if fits else None}
            yield column["column"], {**known, "class": column["class"]}
