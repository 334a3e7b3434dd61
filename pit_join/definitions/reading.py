"""Read and check the declarations of a manifest, collecting every problem."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pit_join.definitions.aggregations import WindowSettings, check_column, read_window_settings
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.known_at import read_known_at
from pit_join.definitions.misplaced import file_of, meta_of
from pit_join.definitions.nearest import read_nearest
from pit_join.definitions.nodes import versioned_name
from pit_join.definitions.on_demand import read_on_demand
from pit_join.definitions.portable import portable_problems
from pit_join.definitions.requests import on_demand_problems, request_problems, views_read, with_versions
from pit_join.definitions.settings import (
    TIMELESS,
    Wrong,
    check_keys,
    column_meta,
    default_problem,
    feature_problem,
    read_duration,
    read_flag,
    read_keys,
    read_limits,
    read_name,
    read_slo,
    read_static,
    sensitive_columns,
    within,
)
from pit_join.definitions.snapshots import SnapshotClocks, end_column
from pit_join.definitions.views import Entity, Feature, FeatureService, FeatureView, OnDemandFeature
from pit_join.errors import RequestError, suggest
from pit_join.references import Request, RequestItem, parse_features, ref_text

__all__ = ["Reader"]

_VIEW_KEYS = (
    "entity", "join_keys", "created_timestamp", "lag", "ttl", "inclusive", "online", "online_store", "freshness_slo",
    "max_staleness", "max_null_rate", "max_default_rate", "drift", "sensitive", "deleted", "clock_time_zone", "static",
    "aggregations", "closed", "event_key",
)  # fmt: skip

_COLUMN_KEYS = (
    "default", "exclude", "freshness_slo", "nearest", "max_null_rate", "max_default_rate", "drift", "sensitive",
)  # fmt: skip
_SERVICE_KEYS = ("features", "full_feature_names")

_EPHEMERAL = "an ephemeral model has no relation that could be read; use view, table or incremental"
_ENDED = "dbt fills it in when a row ends, so as a feature it would tell the future; set exclude: true for this column"
_CONVERT = (
    "stored times are never shifted: convert those of another zone in a model, as in "
    "timezone('America/New_York', dbt_valid_from), which is a timestamptz"
)

_OF_FEATURES = {"default", "drift", "freshness_slo", "max_default_rate", "max_null_rate", "nearest"}


class Reader:
    """Definitions as they are read, and every problem that was found."""

    def __init__(self, clocks: SnapshotClocks, engine: str = "duckdb") -> None:
        self._clocks, self._engine = clocks, engine
        self.problems: list[str] = []
        self.entities: dict[str, Entity] = {}
        self.views: dict[str, FeatureView] = {}
        self.services: dict[str, FeatureService] = {}
        self.on_demand: dict[str, OnDemandFeature] = {}
        self.latest: dict[str, str] = {}

    def macro(self, macro: Mapping[str, Any], project: str) -> None:
        """Read a macro, which is an on-demand feature if its meta says so."""
        name = macro["name"] if macro["package_name"] == project else f"{macro['package_name']}.{macro['name']}"
        path = file_of(macro)

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if found := read_on_demand(macro, name, path, wrong):
            self.on_demand[name] = found

    def view(self, unique_id: str, node: Mapping[str, Any], meta: Any, hiding: Mapping[str, Any] | None = None) -> None:
        """Read a model, seed or snapshot as a feature view; `hiding` is what `ref()` finds by its name."""
        name = versioned_name(node)
        path = file_of(node)
        before = len(self.problems)
        if node.get("version") is not None and node["version"] == node.get("latest_version"):
            self.latest[node["name"]] = name

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if not isinstance(meta, Mapping):
            wrong("config.meta.pit_join", f"must be a mapping, got {meta!r}; allowed keys are {', '.join(_VIEW_KEYS)}")
            return
        self._check_name(name, node, hiding, wrong)
        check_keys(meta, _VIEW_KEYS, within(wrong, "config.meta.pit_join"))
        columns = node.get("columns") or {}
        types = self._types(columns)
        event_timestamp = (node.get("config") or {}).get("event_time")
        entity, key_columns = self._entity(meta, event_timestamp, types, wrong)
        static = read_static(meta, node, wrong)
        features, windows = self._contents(columns, key_columns, event_timestamp, meta, wrong)
        for column in (each.name for each in features if each.name.lower() == end_column(node)):
            wrong(f"columns.{column}", _ENDED)
        view = FeatureView(
            name=name,
            entity=entity,
            key_columns=key_columns,
            event_timestamp=event_timestamp or "",
            features=_watched(features, meta, wrong),
            types=types,
            relation=node.get("relation_name") or "",
            location=(str(node.get("database")), str(node.get("schema")), str(node.get("alias") or node["name"])),
            unique_id=unique_id,
            path=path,
            description=node.get("description") or "",
            created_timestamp=meta.get("created_timestamp"),
            lag=read_duration(meta, "lag", wrong) or timedelta(0),
            ttl=read_duration(meta, "ttl", wrong, positive=True),
            inclusive=read_flag(meta, "inclusive", True, wrong),
            online=read_flag(meta, "online", True, wrong),
            online_store=read_name(meta, "online_store", wrong),
            freshness_slo=read_slo(meta, wrong),
            max_staleness=read_duration(meta, "max_staleness", wrong, positive=True),
            deleted=meta.get("deleted"),
            static=static,
            aggregations=windows.aggregations,
            closed=windows.closed,
            event_key=windows.event_key,
            clock_times=self._clock_times(unique_id, event_timestamp, meta, types, wrong),
            hides_keys=meta.get("sensitive") is True or bool(sensitive_columns(columns) & set(key_columns.values())),
        )
        stored = _stored_problems(node.get("config") or {}, view)
        for key, problem in (*stored, *portable_problems(view, columns, meta, self._engine)):
            wrong(key, problem)
        # A broken view is kept by name, so that a service which uses it is not reported as well.
        self.views[name] = view
        if len(self.problems) == before and entity.join_keys:
            self.entities.setdefault(entity.name, entity)

    def source(self, node: Mapping[str, Any]) -> None:
        """Check that a source is not a feature view, and what it says of when its rows are known."""
        declared = meta_of(node).get("pit_join")
        if isinstance(declared, Mapping) and {"entity", "join_keys"} & declared.keys():
            self.problems.append(
                f"{file_of(node)}: {node['source_name']}.{node['name']}: config.meta.pit_join: a source cannot be a "
                "feature view; declare a model that selects from it (materialized: view copies no rows)"
            )
            return

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{file_of(node)}: {node['source_name']}.{node['name']}: {key}: {problem}")

        read_known_at(node, wrong)

    def _check_name(self, name: str, node: Mapping[str, Any], hiding: Mapping[str, Any] | None, wrong: Wrong) -> None:
        if name in self.views:
            wrong("name", f"two feature views have this name; the other is in {self.views[name].path}")
        elif hiding and "pit_join" not in meta_of(hiding):
            wrong(
                "name",
                f"ref('{node['name']}') finds {file_of(hiding)} of the package {hiding['package_name']}, and not this "
                f"feature view of the package {node['package_name']}; rename or disable one of the two",
            )

    def service(self, exposure: Mapping[str, Any], meta: Any) -> None:
        """Read an exposure as a feature service."""
        name = exposure["name"]
        path = file_of(exposure)

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if not isinstance(meta, Mapping):
            wrong(
                "config.meta.pit_join", f"must be a mapping, got {meta!r}; allowed keys are {', '.join(_SERVICE_KEYS)}"
            )
            return
        if exposure.get("type") != "ml":
            wrong("type", f"a feature service is an exposure of type ml, got '{exposure.get('type')}'")
        check_keys(meta, _SERVICE_KEYS, within(wrong, "config.meta.pit_join"))
        features = meta.get("features")
        if not isinstance(features, list) or not features:
            wrong("features", f"must be a list of references such as view:feature, got {features!r}")
            return
        requests: tuple[RequestItem, ...] = ()
        unread = False
        for item in features:
            try:
                requests += parse_features([item])
            except RequestError as error:
                unread = True
                wrong("features", str(error))
        versioned = with_versions(requests, self.latest)
        stored = tuple(request for request in versioned if isinstance(request, Request))
        for problem in (
            *(request_problems(stored, self.views, self.latest) if stored or not unread else ()),
            *on_demand_problems(versioned, self.views, self.latest, self.on_demand),
        ):
            wrong("features", problem)
        listed = (exposure.get("depends_on") or {}).get("nodes", [])
        for view in sorted(views_read(versioned, self.latest) & set(self.views)):
            if self.views[view].unique_id not in listed:
                wrong("depends_on", f"does not list {ref_text(view)}, which its features need")
        if name in self.services:
            wrong("name", f"two feature services have this name; the other is in {self.services[name].path}")
        self.services[name] = FeatureService(
            name=name,
            requests=requests,
            path=path,
            description=exposure.get("description") or "",
            full_feature_names=read_flag(meta, "full_feature_names", False, wrong),
        )

    def _column(self, key: str, column: Any, types: Mapping[str, FieldType], wrong: Wrong) -> None:
        if column is None:
            return
        if not isinstance(column, str) or column not in types:
            wrong(key, f"no column '{column}' is listed; {suggest(str(column), types, 'columns')}")
        elif key == "deleted" and types[column].family not in ("", "BOOLEAN", "text"):
            wrong(key, f"the column '{column}' must be boolean, or a text that is true or false, got {types[column]}")
        elif key != "deleted" and types[column].family not in ("", "time"):
            wrong(key, f"the column '{column}' must be a timestamp or date, got {types[column]}")

    def _clock_times(
        self, unique_id: str, event_time: Any, meta: Mapping[str, Any], types: Mapping[str, FieldType], wrong: Wrong
    ) -> tuple[str, ...]:
        """Return the naive times of a view that dbt's clock wrote into a snapshot; none if the view says their zone."""
        zone = meta.get("clock_time_zone")
        if zone is not None:
            if zone != "UTC":
                wrong("clock_time_zone", f"must be UTC, got {zone!r}; {_CONVERT}")
            return ()
        times = (event_time, meta.get("created_timestamp"))
        naive = [
            column
            for column in times
            if isinstance(column, str) and column in types and types[column].kind in ("timestamp", "DATE")
        ]
        return self._clocks.among(naive, unique_id)

    def _entity(
        self, meta: Mapping[str, Any], event_time: Any, types: Mapping[str, FieldType], wrong: Wrong
    ) -> tuple[Entity, dict[str, str]]:
        """Return the entity of a view, and the columns of its keys by key."""
        if meta.get("join_keys") == []:
            if meta.get("entity") is not None:
                wrong(
                    "entity",
                    "a view with join_keys: [] holds for every row, and so describes no entity; list the keys of "
                    f"{meta['entity']!r}, or leave entity out",
                )
            return Entity("", ()), {}
        key_columns = read_keys(meta, types, event_time, wrong)
        keys = list(key_columns)
        name = meta.get("entity")
        if not isinstance(name, str) or not name:
            wrong("entity", f"must name what the view describes, such as user, got {name!r}")
            name = ""
        return Entity(name, tuple(keys)), key_columns

    def _types(self, columns: Mapping[str, Any]) -> dict[str, FieldType]:
        return {name: read_type(str(each.get("data_type") or ""), self._engine) for name, each in columns.items()}

    def _contents(
        self,
        columns: Mapping[str, Any],
        key_columns: Mapping[str, str],
        event_time: Any,
        meta: Mapping[str, Any],
        wrong: Wrong,
    ) -> tuple[tuple[Feature, ...], WindowSettings]:
        """Return the features of a view: columns or, in a window view, its aggregations."""
        types, created, deleted = self._types(columns), meta.get("created_timestamp"), meta.get("deleted")
        for key, column in (("config.event_time", event_time), ("created_timestamp", created), ("deleted", deleted)):
            self._column(key, column, types, wrong)
        special = {
            column for column in (*key_columns.values(), event_time, created, deleted) if isinstance(column, str)
        }
        windowed = "aggregations" in meta
        features = tuple(self._features(columns, types, special, windowed, wrong))
        for feature in features if meta.get("static") is True else ():
            if feature.freshness_slo:
                wrong(f"columns.{feature.name}.freshness_slo", TIMELESS)
        taken = dict.fromkeys(key_columns, "a join key") | {str(event_time): "the event time"}
        windows = read_window_settings(meta, types, taken, wrong)
        if windowed:
            hidden = sensitive_columns(columns)
            features = tuple(
                Feature(one.name, one.data_type, one.default, limits=one.limits, sensitive=one.column in hidden)
                for one in windows.aggregations
            )
            for feature in features:
                if problem := feature_problem(feature.data_type):
                    wrong(f"aggregations.{feature.name}", problem)
        elif meta.get("join_keys") == [] and (searched := [one.name for one in features if one.nearest]):
            wrong(f"columns.{searched[0]}.nearest", "searches among entities, and a view with join_keys: [] has none")
        elif not features:
            wrong(
                "columns", "no feature is listed; a feature is a column that is not a key, not a time and not excluded"
            )
        others = (*special.difference(key_columns.values()), *(feature.name for feature in features if not windowed))
        for key in key_columns:
            if key.lower() in map(str.lower, others):
                wrong(
                    "join_keys",
                    f"the key '{key}' has the name of another column, which is a feature, a time or a mark; "
                    "rename one of them",
                )
        return features, windows

    def _features(
        self,
        columns: Mapping[str, Any],
        types: Mapping[str, FieldType],
        special: set[str],
        windowed: bool,
        wrong: Wrong,
    ) -> Iterator[Feature]:
        """Check the columns and yield those that are features; a window view has none."""
        seen: dict[str, str] = {}
        for name, column in columns.items():
            where, meta = f"columns.{name}", column_meta(column)
            if name.lower() in seen:
                wrong(where, f"'{seen[name.lower()]}' is listed too, and letter case does not tell columns apart")
            seen[name.lower()] = name
            if name.lower().startswith("_pit_"):
                wrong(where, "names that start with _pit_ are kept for the joins; rename the column")
            if not isinstance(meta or {}, Mapping):
                wrong(f"{where}.config.meta.pit_join", f"must be a mapping, got {meta!r}")
                continue
            meta = meta or {}
            own = within(wrong, where)
            check_keys(meta, _COLUMN_KEYS, within(own, "config.meta.pit_join"))
            data_type = types[name]
            if not data_type.text:
                wrong(where, "has no data_type")
            hidden = read_flag(meta, "sensitive", False, own)
            if windowed:
                check_column(meta, own)
                continue
            slo, limits = read_slo(meta, own), read_limits(meta, own)
            nearest = read_nearest(meta, data_type, own)
            excluded = read_flag(meta, "exclude", False, own)
            if nearest and excluded:
                own("nearest", "only a feature is searched; this column is excluded")
            if name in special:
                for key in sorted(_OF_FEATURES & meta.keys()):
                    own(key, f"only a feature has a {key}; this column is a key, a time or a mark")
            if name in special or excluded:
                continue
            if problem := feature_problem(data_type):
                wrong(where, problem)
            default = meta.get("default")
            if problem := default_problem(default, data_type):
                own("default", problem)
            yield Feature(name, data_type, default, slo, nearest, limits, hidden)


def _watched(features: Iterable[Feature], meta: Mapping[str, Any], wrong: Wrong) -> tuple[Feature, ...]:
    """Return features with the limits of monitoring of their view, where they have none, and its sensitivity."""
    limits, sensitive = read_limits(meta, wrong), read_flag(meta, "sensitive", False, wrong)
    return tuple(
        replace(each, limits=each.limits.over(limits), sensitive=sensitive or each.sensitive) for each in features
    )


def _stored_problems(config: Mapping[str, Any], view: FeatureView) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with how dbt stores a view: without a relation, or overwritten with each run."""
    if config.get("materialized") == "ephemeral":
        yield "config.materialized", _EPHEMERAL
    if not view.static and (problem := _overwritten(config, view.key_columns.values(), view.event_timestamp)):
        yield "config.unique_key", problem


def _overwritten(config: Mapping[str, Any], key_columns: Collection[str], event_timestamp: str) -> str | None:
    """Return the problem of an incremental model that loses its history with each run."""
    unique = config.get("unique_key")
    columns = [part.strip() for part in unique.split(",")] if isinstance(unique, str) else unique
    replaces = config.get("incremental_strategy") in (None, "merge", "delete+insert")
    if config.get("materialized") != "incremental" or not replaces or not columns:
        return None
    if not {str(column).lower() for column in columns} <= {column.lower() for column in key_columns}:
        return None
    return (
        f"each run overwrites the history, since {', '.join(columns)} keeps one row a key; add the event time "
        f"'{event_timestamp}', and the created time if there is one, or use incremental_strategy: append"
    )
