"""The report: everything that the page shows, put together and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pit_join.errors import PitJoinError, RequestError, option
from pit_join.files import whole
from pit_join.json_values import time_text
from pit_join.monitoring.results import read_results
from pit_join.records.store_manifest import Contents
from pit_join.report.catalogue import catalogue
from pit_join.report.findings import read_audit, read_explanation, set_coverage
from pit_join.report.hidden import Hidden
from pit_join.report.lineage import lineage_of
from pit_join.report.page import make_page
from pit_join.report.runs import monitored
from pit_join.report.states import find_states
from pit_join.training.set_file import read_set
from pit_join.workspace import Workspace

__all__ = ["Report", "ReportOptions", "report_content", "write_report"]


@dataclass(frozen=True, slots=True)
class Report:
    """A page that was written, with the number of what it shows.

    `breaches` counts the series of monitoring that are breached; None if no results are kept. `notes` are the sentences
    that the page has on what is not built or exported.
    """

    path: Path
    views: int
    features: int
    services: int
    size: int
    breaches: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The files that a report shows beside the project, and where dbt docs are.

    `monitoring` is the folder of kept results; None for that of the target in the project.
    """

    training_sets: Sequence[str | Path] = ()
    audits: Sequence[str | Path] = ()
    explanations: Sequence[str | Path] = ()
    monitoring: str | Path | None = None
    dbt_docs: str | None = None


def write_report(
    workspace: Workspace, stores: Mapping[str, Contents | PitJoinError], path: Path, options: ReportOptions
) -> Report:
    """Write the page of a project; the file appears whole or not at all.

    Raises:
        PitJoinError: if the project or a file that was asked for cannot be read, or the page not be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise RequestError(f"a report is an HTML page; name it FILE.html, got {path}")
    content = report_content(workspace, stores, options)
    page = make_page(content)
    try:
        with whole(path) as name:
            Path(name).write_bytes(page)
    except OSError as error:
        raise PitJoinError(f"cannot write {path}: {error.strerror or error}") from error
    series = None if content["monitoring"] is None else content["monitoring"]["series"]
    return Report(
        path=path,
        views=len(content["views"]),
        features=sum(len(view.get("features", ())) for view in content["views"]),
        services=len(content["services"]),
        size=len(page),
        breaches=None if series is None else sum(each["state"] == "breached" for each in series),
        notes=tuple(content["notes"]),
    )


def report_content(
    workspace: Workspace, stores: Mapping[str, Contents | PitJoinError], options: ReportOptions
) -> dict[str, Any]:
    """Return all that the page shows, as plain values.

    Raises:
        PitJoinError: if the project or a file that was asked for cannot be read.
    """
    docs = _docs(options.dbt_docs)
    registry, manifest = workspace.registry, workspace.manifest
    hidden = Hidden(registry, manifest)
    states, notes = find_states(workspace, stores)
    target = workspace.project.connection.target
    folder = Path(options.monitoring or workspace.project.directory / "monitoring" / target)
    if options.monitoring and not folder.is_dir():
        raise RequestError(f"there is no folder {folder}; pit-join monitor keeps its results in monitoring/<target>")
    ttls = {name: view.ttl.total_seconds() for name, view in registry.views.items() if view.ttl}
    return {
        "project": manifest["metadata"]["project_name"],
        "target": target,
        "made_at": time_text(datetime.now(timezone.utc).replace(microsecond=0), True),
        "notes": notes,
        "docs": docs,
        **catalogue(manifest, registry, states, hidden),
        "lineage": lineage_of(manifest, registry),
        "monitoring": monitored(read_results(folder), hidden) if folder.is_dir() else None,
        "sets": [set_coverage(read_set(path), Path(path).name) for path in options.training_sets],
        "audits": [read_audit(Path(path), hidden) for path in options.audits],
        "explanations": [read_explanation(Path(path), hidden, ttls) for path in options.explanations],
    }


def _docs(url: str | None) -> str | None:
    """Return the address of the page of dbt docs, `index.html` of a folder.

    Raises:
        RequestError: if it is neither an address of the web nor a relative path.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    web = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    path = not parts.scheme and not parts.netloc and url.isprintable() and "\\" not in url
    if not url or not (web or path) or parts.query or parts.fragment:
        where = option("dbt_docs=", "--dbt-docs")
        raise RequestError(
            f"{where} is an address such as https://docs.example.com, or a path relative to the page, such as "
            f"../index.html, got {url!r}"
        )
    return url if url.endswith(".html") else f"{url.rstrip('/')}/index.html"
