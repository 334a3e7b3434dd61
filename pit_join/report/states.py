"""The state of each feature view: its rows and newest event time in the warehouse, and its last export."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError
from pit_join.json_values import time_text
from pit_join.records.layout import instant
from pit_join.records.store_manifest import Contents
from pit_join.workspace import Histories, Workspace

__all__ = ["ViewState", "find_states"]

_UNREADABLE = "the table cannot be read as the view declares it; pit-join check says why"


@dataclass(frozen=True, slots=True)
class ViewState:
    """The state of a view; times are ISO 8601 in UTC.

    `rows` and `newest`, the greatest event time, are None where the table is not built. `exported` is the instant of
    the export, and `served` the number of its keys. `problem` says why the table cannot be read.
    """

    rows: int | None = None
    newest: str | None = None
    exported: str | None = None
    served: int | None = None
    problem: str | None = None


def find_states(
    workspace: Workspace, stores: Mapping[str, Contents | PitJoinError]
) -> tuple[dict[str, ViewState], list[str]]:
    """Return the state of each feature view, and in words what was not built, exported or readable at all.

    A message of an error may name files and hosts, which a page for many readers should not: it goes to the console.
    """
    views, said = workspace.registry.views, []
    tables: dict[str, ViewState] = {}
    with ExitStack() as stack:
        if not workspace.project.has_warehouse:
            said.append("dbt has built nothing yet: there is no warehouse. Run dbt build.")
        else:
            try:
                histories = Histories(stack.enter_context(workspace.warehouse()), workspace)
            except PitJoinError as error:
                workspace.console.warn(str(error))
                said.append("The warehouse could not be read, so the page does not say what is built.")
            else:
                built = histories.session.built()
                tables = {
                    name: _table(view, histories, workspace)
                    for name, view in views.items()
                    if tuple(part.lower() for part in view.location) in built
                }
    for name, contents in sorted(stores.items()):
        if isinstance(contents, PitJoinError):
            workspace.console.warn(str(contents))
            which = f"The online store '{name}'" if name else "The online store"
            said.append(f"{which} could not be read, or nothing was exported to it yet.")
    return {name: _with_export(tables.get(name, ViewState()), view, stores) for name, view in views.items()}, said


def _table(view: FeatureView, histories: Histories, workspace: Workspace) -> ViewState:
    try:
        time = view.event_timestamp or None
        kind = str(view.types[time]) if time else None
        statement = workspace.view_macros.text("_size_statement", relation=view.relation, column=time, data_type=kind)
        what = f"the feature view '{view.name}' cannot be read"
        facts = histories.session.rows_later(statement, what).result()[0]
    except PitJoinError as error:
        histories.begin_anew()
        workspace.console.warn(str(error))
        return ViewState(problem=_UNREADABLE)
    newest = facts["newest"]
    return ViewState(facts["rows"], None if newest is None else str(time_text(instant(newest), True)))


def _with_export(table: ViewState, view: FeatureView, stores: Mapping[str, Contents | PitJoinError]) -> ViewState:
    contents = stores.get(view.online_store) if view.online else None
    stored = None if contents is None or isinstance(contents, PitJoinError) else contents.views.get(view.name)
    if stored is None or stored.instant is None:
        return table
    return ViewState(table.rows, table.newest, str(time_text(stored.instant, True)), stored.rows, table.problem)
