"""The methods of a feature store that say what a project has, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pit_join.catalog import Check
    from pit_join.definitions.registry import Registry
    from pit_join.workspace import Workspace

__all__ = ["Described"]


class Described:
    """A project whose declarations are listed and checked; see `FeatureStore`."""

    if TYPE_CHECKING:

        def _workspace(self) -> Workspace: ...

    def registry(self) -> Registry:
        """Return all declarations of the project, as its files are now.

        Raises:
            ProjectError: with every problem of the declarations.
        """
        return self._workspace().registry

    def describe_views(self) -> list[dict[str, Any]]:
        """Return the feature views with entity, keys, times, features, rows and newest event time (ISO 8601, UTC).

        Raises:
            PitJoinError: if the project or its warehouse cannot be read.
        """
        from pit_join.catalog import describe_views

        return describe_views(self._workspace())

    def describe_services(self) -> list[dict[str, Any]]:
        """Return the feature services with their descriptions, views, on-demand features and names of features.

        Raises:
            PitJoinError: if the project cannot be read.
        """
        from pit_join.catalog import describe_services

        return describe_services(self._workspace())

    def describe_on_demand(self) -> list[dict[str, Any]]:
        """Return the on-demand features with their descriptions, the types of arguments and result, and services.

        Raises:
            PitJoinError: if the project cannot be read.
        """
        from pit_join.catalog import describe_on_demand

        return describe_on_demand(self._workspace())

    def check(self) -> Check:
        """Find everything that is wrong with the project without reading a row, and with the tables that dbt has built.

        Raises:
            PitJoinError: if dbt cannot read the project, or its warehouse cannot be opened.
        """
        from pit_join.catalog import check_project

        return check_project(self._workspace())
