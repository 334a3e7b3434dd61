"""The method of a feature store that writes a page of all that it knows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pit_join.errors import PitJoinError

if TYPE_CHECKING:
    from pit_join.records.store_manifest import Contents
    from pit_join.report.report import Report
    from pit_join.workspace import Workspace

__all__ = ["Reported"]


class Reported:
    """A project that is shown on a page; see `FeatureStore`."""

    # The method imports the modules that load DuckDB and Arrow, since a service only reads online.

    if TYPE_CHECKING:

        def _workspace(self) -> Workspace: ...

        def _contents_by_store(self, workspace: Workspace) -> dict[str, Contents | PitJoinError]: ...

    def report(
        self,
        path: str | Path,
        *,
        training_sets: Iterable[str | Path] = (),
        audits: Iterable[str | Path] = (),
        explanations: Iterable[str | Path] = (),
        monitoring: str | Path | None = None,
        dbt_docs: str | None = None,
    ) -> Report:
        """Write one HTML page with the catalogue, the lineage and the findings, which needs no network.

        Values, keys and defaults of sensitive features are not on it. Nothing needs to be built or exported.

        Args:
            path: the page, which appears whole or not at all.
            training_sets: Parquet or Arrow files of training sets, of which the coverage is shown.
            audits: files with what `pit-join audit FILE --json` printed.
            explanations: files with what `pit-join explain --json` printed.
            monitoring: the folder with the results of `pit-join monitor`; by default `monitoring/<target>` in the
                project, if it is there.
            dbt_docs: where dbt docs are, as an address or as a path relative to the page; models then link there.

        Raises:
            PitJoinError: if the project or one of the files cannot be read, or the page not be written.
        """
        from pit_join.report.report import ReportOptions, write_report

        workspace = self._workspace()
        options = ReportOptions(tuple(training_sets), tuple(audits), tuple(explanations), monitoring, dbt_docs)
        return write_report(workspace, self._contents_by_store(workspace), Path(path), options)
