"""Pages of `pit-join report`: taken apart, and the contents of a project of any size without dbt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zlib import crc32

from pit_join.definitions.registry import Registry
from pit_join.monitoring.results import Result, keep_results, read_results
from pit_join.report.catalogue import catalogue
from pit_join.report.findings import read_audit, read_explanation
from pit_join.report.hidden import Hidden
from pit_join.report.lineage import lineage_of
from pit_join.report.page import make_page
from pit_join.report.runs import monitored
from pit_join.report.states import ViewState


class Parts(HTMLParser):
    """The elements of a page with their attributes, and the texts of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.texts:
            self.texts[self._open][-1] += data

    @property
    def content(self) -> dict[str, Any]:
        """The data, as the script reads them."""
        found: dict[str, Any] = json.loads(self.texts["script"][0])
        return found


def content_of(path: Path) -> dict[str, Any]:
    """The content of a page, its series of monitoring as objects."""
    content = Parts(path.read_text("utf-8")).content
    if found := content["monitoring"]:
        series = []
        for number in range(len(found["columns"]["check"])):
            one = {
                name: found["names"][found["columns"][name][number]] for name in ("check", "state", "view", "feature")
            }
            flat, more = found["columns"]["history"][number], found["rest"].get(str(number), {})
            series.append({**one, **more, "value": found["columns"]["value"][number], "history": flat})
        content["monitoring"] = {"runs": found["runs"], "series": series}
    return content


def wide_manifest(views: int, features: int) -> dict[str, Any]:
    """A manifest of sources, staging models, views in folders, and services that read ten views each."""
    nodes: dict[str, Any] = {}
    sources, exposures = {}, {}
    for i in range(max(1, views // 10)):
        one = f"source.wide.raw.table_{i}"
        sources[one] = _node(one, f"table_{i}", "source", "models/sources.yml", []) | {"source_name": f"raw_{i % 5}"}
        staging = f"model.wide.stg_{i}"
        nodes[staging] = _node(staging, f"stg_{i}", "model", "models/staging/x.sql", [one])
    for i in range(views):
        one = f"model.wide.view_{i:03}"
        columns = ["user_id", "event_timestamp", *(f"view_{i:03}_feature_{j}" for j in range(features))]
        types = ["varchar", "timestamptz", *["double"] * features]
        node = _node(one, f"view_{i:03}", "model", f"models/team_{i % 12}/x.sql", [f"model.wide.stg_{i // 10}"])
        node["description"] = f"What users did in the part {i} of the shop, a row for each user and day."
        node["config"] = {
            "event_time": "event_timestamp",
            "meta": {"owner": f"team {i % 12}", "pit_join": {"entity": "user", "join_keys": ["user_id"]}},
        }
        node["columns"] = {
            name: {"name": name, "data_type": kind, "description": "A number of something on the day before."}
            for name, kind in zip(columns, types, strict=True)
        }
        nodes[one] = node
    for i in range(max(1, views // 10)):
        read = [f"view_{j:03}" for j in range(10 * i, min(views, 10 * i + 10))]
        one = f"exposure.wide.service_{i}"
        exposures[one] = _node(one, f"service_{i}", "exposure", "models/x.yml", [f"model.wide.{name}" for name in read])
        exposures[one] |= {
            "type": "ml",
            "owner": {"name": "Growth", "email": "growth@example.com"},
            "config": {"meta": {"pit_join": {"features": [f"{name}:*" for name in read], "full_feature_names": True}}},
        }
    parts = {"macros": {}, "groups": {}, "sources": sources, "exposures": exposures, "nodes": nodes}
    return {"metadata": {"project_name": "wide"}, **parts}


def _node(unique_id: str, name: str, kind: str, path: str, reads: list[str]) -> dict[str, Any]:
    return {
        "unique_id": unique_id, "name": name, "resource_type": kind, "package_name": "wide", "alias": name,
        "database": "warehouse", "schema": "main", "original_file_path": path, "patch_path": f"wide://{path}",
        "depends_on": {"nodes": reads}, "relation_name": f'"main"."{name}"',
    }  # fmt: skip


def wide_content(manifest: Mapping[str, Any], folder: Path, runs: int = 8) -> dict[str, Any]:
    """The content of the page of a manifest, as `report_content` puts it together, with kept results in a folder."""
    registry = Registry.from_manifest(manifest)
    hidden = Hidden(registry, manifest)
    bars = {"edges": [0.5, 1.5, 2.5, None], "labels": [None] * 4}
    details = {**bars, "baseline": [0.1, 0.2, 0.3, 0.4], "current": [0.4, 0.3, 0.2, 0.1]}
    for run in range(runs):
        results = [
            Result(check, view, each.name, 0.1 * run, 0.15, over=run > 1, breached=run > 1, details=details)
            for view, declared in registry.views.items()
            for each in declared.features
            for check in ("drift", "nulls")
        ]
        keep_results(folder, results, datetime(2026, 3, 1, tzinfo=timezone.utc) + timedelta(days=run))
    states = dict.fromkeys(registry.views, ViewState(1000, "2026-03-18T00:00:00Z", "2026-03-18T06:00:00Z", 100))
    return {
        "project": "wide", "target": "dev", "made_at": "2026-03-18T12:00:00Z", "notes": [], "docs": None,
        **catalogue(manifest, registry, states, hidden), "lineage": lineage_of(manifest, registry),
        "monitoring": monitored(read_results(folder), hidden), "sets": [], "audits": [], "explanations": [],
    }  # fmt: skip


def wide_page(path: Path, views: int = 500, features: int = 10) -> Path:
    path.write_bytes(make_page(wide_content(wide_manifest(views, features), path.parent / "monitoring")))
    return path


AUDIT: dict[str, Any] = {
    "path": "/elsewhere/theirs.csv", "rows": 9, "found": True, "unknown": ["x"], "missing": ["view_000:a"],
    "suspects": [{"column": "rate", "text": "the mean of the label", "explained": 9, "tried": 9, "leak": True}],
    "left_out": {"view_001": "the file has no user_id"}, "hints": ["hardly any key is known"],
    "columns": [
        {
            "column": "x1", "feature": "view_000:view_000_feature_0", "verdict": "leak", "rows": 9, "differing": 4,
            "precision": "float32", "problem": None, "filled": {"value": 77.25, "rows": 2},
            "causes": [{"text": "ignores the lag", "explained": 4, "tried": 4, "leak": True}],
            "examples": [{"row": 1, "time": "2026-03-18T00:00:00Z", "value": 88.5, "expected": None}],
        }
    ],
}  # fmt: skip
_ROW = {"verdict": "chosen", "position": 1, "event": "2026-03-17T00:00:00Z", "known_from": "2026-03-17T06:00:00Z"}
EXPLANATION: dict[str, Any] = {
    "view": "view_000", "keys": {"user_id": "U-4711"}, "at": "2026-03-18T00:00:00Z", "asked": "2026-03-18T00:00:00Z",
    "event": None, "rule": ["ttl: 3 days"], "statuses": {"view_000_feature_0": "PRESENT"}, "defaulted": [],
    "values": {"view_000_feature_0": 88.5}, "counts": {"rows": 1}, "windows": [], "arguments": [],
    "rows": [{**_ROW, "values": [88.5], "until": None}],
    "online": {"exported_at": "2026-03-18T00:00:00Z", "equal": False, "why": ["it has 88.5, and the rule None"]},
}  # fmt: skip


def full_content(folder: Path, views: int) -> dict[str, Any]:
    """The content of a page with every section: audits, explanations and the coverage of a set as well."""
    manifest = wide_manifest(views, 3)
    hidden = Hidden(Registry.from_manifest(manifest), manifest)
    window = {"feature": "n", "function": "count over 1 day", "events": 1, "rows": EXPLANATION["rows"]}
    argument = {"name": "a", "source": "view_000:view_000_feature_0", "value": 1, "status": "PRESENT", "event": None}
    files = {"audit": AUDIT, "rows": EXPLANATION, "window": {**EXPLANATION, "rows": [], "windows": [window]}}
    files["on_demand"] = {**EXPLANATION, "rows": [], "arguments": [argument], "view": "service_0"}
    paths = {name: folder / f"{name}.json" for name in files}
    for name, path in paths.items():
        path.write_text(json.dumps(files[name]))
    on_demand = {"name": "headwind", "arguments": [["speed", "double"]], "returns": "double", "description": "Ahead."}
    content = wide_content(manifest, folder / "monitoring")
    content["services"][0] |= {"url": "https://example.com/model", "tags": ["gold"], "label": "The first"}
    content["services"][0]["items"].append({"on_demand": "headwind", "name": "wind", "arguments": [["speed", "speed"]]})
    statuses = [["PRESENT", "present"], ["NOT_FOUND", "not found"]]
    return {
        **content,
        "notes": ["Nothing was exported."],
        "docs": "../index.html",
        "on_demand": [{**on_demand, "path": "macros/x.yml"}],
        "sets": [
            {
                "file": "train.parquet", "rows": 10, "features": 3, "spine": "labels", "statuses": statuses,
                "coverage": [{"role": "origin", "view": "view_000", "counts": [7, 3]}],
            }
        ],
        "audits": [read_audit(paths["audit"], hidden)],
        "explanations": [read_explanation(paths[name], hidden, {"view_000": 1e5}) for name in files if name != "audit"],
    }  # fmt: skip


HOSTILE = (
    "</script><script>window.pwned = 1</script>", "<!--<script>window.pwned = 2", '"><svg onload=window.pwned=3>',
    "<img src=x onerror=window.pwned=4>", "\x1b]0;red\x07\x1b[31m", "\u202egnp.exe", "@SCRIPT@@CONTENT@",
)  # fmt: skip
# What the page itself puts there, from a closed list.
_OF_THE_PAGE = {"state", "verdict", "kind", "check", "made_at", "docs", "at", "asked", "event", "known_from", "until"}


def hostile_content(content: Any, key: str = "") -> Any:
    """The content with a hostile text after each text of the project, equal ones after equal texts."""
    if isinstance(content, str):
        if key == "url":
            return "javascript:window.pwned=5"
        return content if key in _OF_THE_PAGE else content + HOSTILE[crc32(content.encode()) % len(HOSTILE)]
    if isinstance(content, dict):
        return {name: hostile_content(each, name) for name, each in content.items()}
    return [hostile_content(each, key) for each in content] if isinstance(content, (list, tuple)) else content
