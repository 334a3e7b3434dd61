"""Explain the value of an on-demand feature: its expression, and the value of each argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pit_join.definitions.field_type import read_type
from pit_join.definitions.registry import Registry
from pit_join.definitions.views import FeatureService
from pit_join.errors import EntityError, RequestError, suggest
from pit_join.records.arrow import arrow_values
from pit_join.records.layout import moment_of
from pit_join.references import OnDemandRequest, Request, parse_reference
from pit_join.statuses import NULL_VALUE, PRESENT
from pit_join.times import gap_text, parse_duration
from pit_join.training.explain import Explainer, first_row, types_of
from pit_join.training.explanation import ExplainedArgument, Explanation
from pit_join.training.given import read_given
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, Expressions
from pit_join.workspace import Workspace

__all__ = ["explain_on_demand", "find_on_demand"]

_TIME = "event_timestamp"  # where a spine does not say otherwise, its column with the time T


def find_on_demand(registry: Registry, feature: str) -> tuple[FeatureService, OnDemandRequest] | None:
    """Return an on-demand feature by `name` or `service:name`, with its service; None if it names a view.

    Raises:
        RequestError: if several services have a feature of that name, or the service has none.
    """
    owner, name = parse_reference(feature) or ("", feature)
    if (owner or name) in {*registry.views, *registry.latest}:
        return None
    found = {
        service.name: (service, item)
        for service in registry.services.values()
        for item in service.requests
        if isinstance(item, OnDemandRequest) and item.name == name and owner in ("", service.name)
    }
    if len(found) > 1:
        raise RequestError(
            f"the services {', '.join(sorted(found))} have an on-demand feature '{name}'; name one of them, as in "
            f"'{min(found)}:{name}'"
        )
    if owner in registry.services and not found:
        known = [item.name for item in registry.services[owner].requests if isinstance(item, OnDemandRequest)]
        raise RequestError(
            f"the feature service '{owner}' has no on-demand feature '{name}'; "
            f"{suggest(name, known, 'on-demand features')}; a stored feature is view:feature"
        )
    return next(iter(found.values()), None)


def explain_on_demand(
    workspace: Workspace,
    warehouse: DuckDBWarehouse,
    asked: tuple[FeatureService, OnDemandRequest],
    given: Mapping[str, Any],
    moment: datetime,
    gap: str | timedelta | None,
) -> Explanation:
    """Explain an on-demand feature that `find_on_demand` returned.

    Args:
        workspace: the project.
        warehouse: its open warehouse.
        asked: the service and the feature.
        given: a value for each key of the arguments' views and for each field, as the service names them; a text is
            read as the type. The field `event_timestamp` is T unless it is given.
        moment: the time T, with a time zone.
        gap: predict ahead, as in a training set.

    Raises:
        PitJoinError: see its subclasses; unknown and missing keys, and values that cannot be read or computed.
    """
    service, item = asked
    stored = [each for each in service.requests if isinstance(each, Request)]
    *requests, feature = workspace.registry.check((*stored, item))
    assert isinstance(feature, OnDemandRequest)
    workspace.check_on_demand({feature.macro})
    items = [each.as_macro_argument() for each in (*requests, feature)]
    resolved = workspace.macros.data("_resolved_requests", features=items)
    (computed,) = resolved["computed"]
    fields = {each["name"]: each["column"] for each in computed["arguments"] if not each["reference"]}
    roles = list(_roles(computed["arguments"], resolved["requests"]))
    needed = [*(column for role, _ in roles for column in role["keys"].values()), *fields.values()]
    given = _checked(item.name, given, needed, moment)
    keys: dict[str, Any] = {}
    types: dict[str, str] = {}
    found: dict[str, ExplainedArgument] = {}
    for role, names in roles:
        view, columns = workspace.registry.view(role["view"]), role["keys"]
        own = {key: given[column] for key, column in columns.items()}
        one = Explainer(workspace, warehouse, view, list(dict.fromkeys(names.values())), own).at(moment, gap, around=0)
        keys |= {column: one.keys[key] for key, column in columns.items()}
        types |= {column: one.types[key] for key, column in columns.items()}
        found |= {name: _stored(name, f"{role['alias']}:{column}", one, column) for name, column in names.items()}
    kinds = {name: read_type(feature.types[name]) for name in fields}
    read = read_given(warehouse, "_pit_fields", {name: given[of] for name, of in fields.items()}, kinds, "argument")
    values, own_types = first_row(read), types_of(read)
    found |= {name: ExplainedArgument(name, of, values[name], own_types[name]) for name, of in fields.items()}
    arguments = tuple(found[name] for name in feature.types)
    default, without = (_computed(workspace, feature, arguments, defaults=defaults) for defaults in (True, False))
    (value,), (plain,) = first_row(default).values(), first_row(without).values()
    expression = workspace.macros.text(
        "_on_demand_expression", path=feature.macro, arguments={name: name for name in feature.types}
    )
    at, gap = moment_of(moment), gap_text(gap)
    return Explanation(
        view=service.name,
        keys=keys,
        at=at,
        asked=at - (parse_duration(gap) // timedelta.resolution if gap else 0),
        rule=(expression,),
        statuses={item.name: NULL_VALUE if value is None else PRESENT},
        event=None,
        values={item.name: value},
        defaulted=(item.name,) if plain is None and value is not None else (),
        rows=(),
        counts={},
        types={**types, **types_of(default)},
        arguments=arguments,
    )


def _roles(
    arguments: Sequence[Mapping[str, Any]], requests: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """Yield the roles that arguments take features of, each with the features by the names of the arguments."""
    for role in requests:
        columns = {f"{role['alias']}:{each['column']}": each["column"] for each in role["features"]}
        names = {each["name"]: columns[each["column"]] for each in arguments if each["column"] in columns}
        if names:
            yield role, names


def _checked(name: str, given: Mapping[str, Any], needed: Sequence[str], moment: datetime) -> Mapping[str, Any]:
    """Return what was given, with the time T where it is needed."""
    given = {**({_TIME: moment} if _TIME in needed else {}), **given}
    if unknown := [column for column in given if column not in needed]:
        known = suggest(unknown[0], set(needed), "keys and fields")
        raise EntityError(f"the on-demand feature '{name}' takes no '{unknown[0]}'; {known}")
    if missing := [column for column in dict.fromkeys(needed) if column not in given]:
        raise EntityError(f"the on-demand feature '{name}' needs {', '.join(missing)}; give a value for each")
    return given


def _stored(name: str, source: str, found: Explanation, column: str) -> ExplainedArgument:
    chosen = found.chosen
    return ExplainedArgument(
        name=name,
        source=source,
        value=found.values[column],
        type=found.types[column],
        status=found.statuses[column],
        event=found.event,
        known_from=chosen.known_from if chosen else None,
    )


def _computed(
    workspace: Workspace, feature: OnDemandRequest, arguments: Sequence[ExplainedArgument], *, defaults: bool
) -> pa.Table:
    """Compute the feature by the statement that training sets and the online store run."""
    statement = workspace.macros.text(
        "_on_demand_statement",
        features=[replace(feature, arguments={}).as_macro_argument()],  # each is then a column of its own name
        relation=ARGUMENTS,
        options={"defaults": defaults},
    )
    columns = {
        each.name: arrow_values(each.type, [each.value]) if each.type else pa.array([each.value]) for each in arguments
    }
    # A feature without arguments has a row all the same.
    return Expressions(statement, {}).many(pa.table({"_pit_row": [1], **columns}))
