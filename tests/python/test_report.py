"""The page of `pit-join report`: its content, its policy, and that nothing sensitive or executable is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from http_servers import serving
from support.dbt import Built
from support.projects import BASE, KEYS, make_project, run, view
from support.reports import AUDIT, EXPLANATION, Parts, content_of, wide_manifest, wide_page

import pit_join
from pit_join import FeatureStore, PitJoinError, RequestError
from pit_join.definitions.registry import Registry
from pit_join.monitoring.results import Result, keep_results, read_results
from pit_join.report.findings import read_audit, read_explanation
from pit_join.report.hidden import Hidden
from pit_join.report.lineage import lineage_of
from pit_join.report.page import embedded, make_page, policy_of
from pit_join.report.runs import monitored

ASSETS = Path(pit_join.__file__).parent / "report" / "assets"
HOSTILE = (
    "</script><script>alert(1)</script>", "<!--<script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)",
    '"&quot;\'`', "\x1b[31mred\x07", "\u202egnp.exe", "@SCRIPT@ @CONTENT@ @POLICY@", "\\u003c/script>",
)  # fmt: skip
NOTHING: dict[str, Any] = {
    "project": "shop", "target": "dev", "made_at": "2026-03-18T12:00:00Z", "notes": [], "docs": None, "views": [],
    "services": [], "on_demand": [], "lineage": {"nodes": [], "edges": []}, "monitoring": None, "sets": [],
    "audits": [], "explanations": [],
}  # fmt: skip
NOW = datetime(2026, 3, 18, tzinfo=timezone.utc)


# The page -----------------------------------------------------------------------------------------------------


def test_data_stay_data() -> None:
    """Whatever they hold, an HTML parser finds the two scripts of the page, and the data as they were."""
    content = {**NOTHING, "notes": list(HOSTILE), "project": HOSTILE[0]}
    page = make_page(content).decode()
    parts = Parts(page)
    assert [tag for tag, _ in parts.elements].count("script") == 2
    assert len(parts.texts["script"]) == 2
    assert "<" not in parts.texts["script"][0]
    notes = parts.content["notes"]
    assert notes[:5] == list(HOSTILE[:5])
    assert notes[7:] == list(HOSTILE[7:])
    assert "<title>&lt;/script&gt;" in page


def test_what_is_invisible_is_shown() -> None:
    assert json.loads(embedded(list(HOSTILE[5:7]))) == ["\\x1b[31mred\\x07", "\\u202egnp.exe"]
    assert json.loads(embedded({"a\u200bb": "one\ntwo\u00a0three \ud800"})) == {"a\\u200bb": "one\ntwo three \\ud800"}


def test_the_policy_allows_this_script_and_this_style_alone() -> None:
    page = make_page(NOTHING)
    parts = Parts(page.decode())
    (meta,) = (given for tag, given in parts.elements if given.get("http-equiv") == "Content-Security-Policy")
    policy = str(meta["content"])
    assert policy == policy_of(page)

    def hash_of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "script-src": hash_of(parts.texts["script"][1]),
        "style-src": hash_of(parts.texts["style"][0]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [given for _, given in parts.elements if any(name == "style" or name[:2] == "on" for name in given)]
    assert not [given for _, given in parts.elements if {"src", "action"} & given.keys()]


def test_the_script_has_no_way_to_parse_text() -> None:
    text = "".join(path.read_text() for path in sorted(ASSETS.glob("*.js")))
    assert len(text) > 10_000
    parsing = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(|srcdoc|setTimeout"
    assert re.findall(parsing, text) == []
    assert re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", text) == []
    assert "@import" not in (ASSETS / "page.css").read_text()
    assert "url(" not in (ASSETS / "page.css").read_text()


@pytest.mark.parametrize(
    "page",
    [
        b"<!doctype html><script>alert(1)</script>",
        make_page(NOTHING).replace(b"script-src ", b"script-src 'unsafe-inline' "),
        make_page(NOTHING).replace(b"default-src 'none'", b"default-src *"),
    ],
)
def test_only_our_own_policy_is_read(page: bytes) -> None:
    with pytest.raises(PitJoinError, match="is not a page of pit-join report"):
        policy_of(page)


@pytest.mark.rest
def test_a_large_project_makes_a_small_page_quickly(tmp_path: Path) -> None:
    manifest, began = wide_manifest(500, 10), perf_counter()
    Registry.from_manifest(manifest)
    path = wide_page(tmp_path / "page.html")
    assert perf_counter() - began < 20, "5 s are allowed on a machine that does nothing else"
    assert path.stat().st_size < 3_000_000
    content = content_of(path)
    assert sum(len(each["features"]) for each in content["views"]) == 5_000
    assert len(content["monitoring"]["series"]) == 10_000
    assert sum("shares" in each for each in content["monitoring"]["series"]) == 300


# Lineage ------------------------------------------------------------------------------------------------------


def test_lineage_goes_from_left_to_right() -> None:
    manifest = wide_manifest(30, 2)
    found = lineage_of(manifest, Registry.from_manifest(manifest))
    nodes, kinds = found["nodes"], {node["id"]: node["kind"] for node in found["nodes"]}
    assert {kind: list(kinds.values()).count(kind) for kind in kinds.values()} == {
        "source": 3, "model": 3, "view": 30, "service": 3,
    }  # fmt: skip
    assert all(nodes[parent]["rank"] < nodes[child]["rank"] for parent, child in found["edges"])
    named = {(nodes[parent]["label"], nodes[child]["label"]) for parent, child in found["edges"]}
    assert len(named) == len(found["edges"]) == 3 + 30 + 30
    assert {("raw_0.table_0", "stg_0"), ("stg_1", "view_017"), ("view_017", "service_1")} <= named
    # Neighbours stand together, so that no edge crosses another.
    order = [node["label"] for node in nodes if node["kind"] == "view"]
    assert [int(name[-3:]) // 10 for name in order] == sorted(int(name[-3:]) // 10 for name in order)


def test_lineage_of_a_chain_needs_no_recursion() -> None:
    manifest = wide_manifest(1, 1)
    links = [f"model.wide.link_{i}" for i in range(3_000)]
    for below, above in zip(links, [*links[1:], "model.wide.stg_0"], strict=True):
        manifest["nodes"][below] = {**manifest["nodes"]["model.wide.stg_0"], "unique_id": below, "name": below}
        manifest["nodes"][below]["depends_on"] = {"nodes": [above]}
    manifest["nodes"]["model.wide.view_000"]["depends_on"] = {"nodes": links[:1]}
    assert max(node["rank"] for node in lineage_of(manifest, Registry.from_manifest(manifest))["nodes"]) == 3_003


# Monitoring ---------------------------------------------------------------------------------------------------


def keep(folder: Path, *runs: list[Result]) -> Path:
    for i, results in enumerate(runs):
        keep_results(folder, results, NOW + timedelta(days=i))
    return folder


def states(folder: Path, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    manifest = manifest or wide_manifest(1, 4)
    found = monitored(read_results(folder), Hidden(Registry.from_manifest(manifest), manifest))
    assert found is not None
    return found


def test_breaches_come_first(tmp_path: Path) -> None:
    names = [f"view_000_feature_{i}" for i in range(4)]

    def results(*marks: dict[str, Any]) -> list[Result]:
        return [Result("nulls", "view_000", name, 0.1, 0.2, **mark) for name, mark in zip(names, marks, strict=True)]

    fine = results({}, {}, {}, {})
    mixed = results({}, {"judged": False}, {"over": True}, {"over": True, "breached": True, "text": "too many"})
    found = states(keep(tmp_path / "m", fine, mixed))
    assert [(each["feature"], each["state"]) for each in found["series"]] == [
        (names[3], "breached"), (names[2], "over"), (names[1], "not judged"), (names[0], "ok"),
    ]  # fmt: skip
    assert len(found["runs"]) == 2
    assert found["series"][0]["history"] == [[0, 0.1, 0], [1, 0.1, 1]]
    assert found["series"][0]["text"] == "too many"


def test_a_series_that_the_last_run_of_its_view_did_not_have_is_gone(tmp_path: Path) -> None:
    one, other = (Result("nulls", "view_000", f"view_000_feature_{i}", float(i)) for i in range(2))
    elsewhere = Result("nulls", "view_001", "view_001_feature_2", 2.0)
    found = states(keep(tmp_path / "m", [one, other, elsewhere], [one]))
    assert {each["feature"][-1]: each["history"][-1][0] for each in found["series"]} == {"0": 1, "2": 0}


def test_there_is_no_state_without_runs(tmp_path: Path) -> None:
    manifest = wide_manifest(1, 1)
    assert monitored(read_results(tmp_path / "none"), Hidden(Registry.from_manifest(manifest), manifest)) is None


BARS = {"baseline": [0.5, 0.25, 0.25], "current": [0.25, 0.25, 0.5], "edges": None, "categories": None}
MANY = {**BARS, "baseline": [0.1] * 40, "current": [0.1] * 40, "labels": [*map(str, range(40))]}


@pytest.mark.parametrize(
    ("details", "labels"),
    [
        ({**BARS, "labels": [None] * 3, "edges": [1, 2.5, None]}, ["≤ 1", "1 – 2.5", "> 2.5"]),
        ({**BARS, "labels": [None, None, "null"], "edges": [1.9999999999999996, 2.0, None]}, ["< 2", "2", "null"]),
        ({**BARS, "labels": [None, "null", "not found"], "edges": [None] * 3}, ["a value", "null", "not found"]),
        ({**BARS, "labels": ["a", "b", "other"]}, ["a", "b", "other"]),
        ({**BARS, "labels": [None, "null", "not found"]}, ["a value", "null", "not found"]),
        (MANY, [*map(str, range(24)), "16 others"]),
        ({**BARS, "labels": ["a"]}, None),
        ({**BARS, "labels": None}, None),
        ({**BARS, "labels": [None] * 3, "edges": ["x"] * 3}, None),
        ({**BARS, "labels": [], "baseline": [], "current": []}, None),
        ({**BARS, "labels": ["a", "b", "c"], "current": [1]}, None),
        ({"rows": 3}, None),
        (None, None),
    ],
)
def test_distributions_have_labels(details: Any, labels: list[str] | None, tmp_path: Path) -> None:
    result = Result("drift", "view_000", "view_000_feature_0", 0.3, details=details)
    (found,) = states(keep(tmp_path / "m", [result]))["series"]
    assert [label for label, *_ in found["shares"]] == labels if labels else "shares" not in found


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    results = [
        Result("nulls", "view_000", f"view_000_feature_{i}", float(text)) for i, text in enumerate(("nan", "inf"))
    ]
    found = states(keep(tmp_path / "m", results))
    assert [each["history"] for each in found["series"]] == [[[0, None, 0]]] * 2
    assert embedded(found)


# Files of other commands --------------------------------------------------------------------------------------


def written(path: Path, read: Any) -> Path:
    path.write_text(read if isinstance(read, str) else json.dumps(read))
    return path


def hidden(*, sensitive: bool = False) -> Hidden:
    manifest = wide_manifest(1, 1)
    if sensitive:
        manifest["nodes"]["model.wide.view_000"]["config"]["meta"]["pit_join"]["sensitive"] = True
    return Hidden(Registry.from_manifest(manifest), manifest)


def test_an_audit_is_taken_as_text(tmp_path: Path) -> None:
    found = read_audit(written(tmp_path / "audit.json", AUDIT), hidden())
    assert found["audited"] == "theirs.csv"
    (column,) = found["columns"]
    assert column["nulls_filled"] == ["77.25", 2]
    assert column["examples"] == [{"row": 1, "time": "2026-03-18T00:00:00Z", "value": "88.5", "expected": "null"}]
    assert column["causes"] == [["ignores the lag", 4, 4, True]]


def test_an_explanation_is_taken_as_text(tmp_path: Path) -> None:
    found = read_explanation(written(tmp_path / "e.json", EXPLANATION), hidden(), {"view_000": 60.0})
    assert (found["keys"], found["ttl"], found["values"][0]["value"]) == ([["user_id", "U-4711"]], 60.0, "88.5")
    assert found["rows"][0]["values"] == ["88.5"]
    assert found["online"]["why"] == ["it has 88.5, and the rule None"]


@pytest.mark.parametrize(
    "name", ["view_000:view_000_feature_0", "role:view_000_feature_0", "role:role__view_000_feature_0"]
)
def test_nothing_sensitive_is_taken(name: str, tmp_path: Path) -> None:
    """Also where a role stands for the view."""
    audit = {**AUDIT, "columns": [{**AUDIT["columns"][0], "feature": name, "problem": "'88.5' is a text"}]}
    explanation = {
        **EXPLANATION,
        "arguments": [{"name": "a", "source": name, "value": 88.5, "status": "PRESENT", "event": None}],
    }
    taken = [
        read_audit(written(tmp_path / "audit.json", audit), hidden(sensitive=True)),
        read_explanation(written(tmp_path / "e.json", EXPLANATION), hidden(sensitive=True), {}),
        read_explanation(written(tmp_path / "o.json", {**explanation, "view": "service"}), hidden(sensitive=True), {}),
    ]
    assert not re.findall(r"88\.5|77\.25|U-4711", json.dumps(taken))
    assert [each["verdict"] for each in taken[0]["columns"]] == ["leak"]
    assert taken[1]["rows"][0]["verdict"] == "chosen"


def test_a_role_is_as_sensitive_as_its_view(tmp_path: Path) -> None:
    manifest = wide_manifest(2, 1)
    declared = manifest["exposures"]["exposure.wide.service_0"]["config"]["meta"]["pit_join"]
    declared["features"] = [{"view": f"view_00{i}", "as": f"role_{i}", "features": ["*"]} for i in range(2)]
    manifest["nodes"]["model.wide.view_000"]["config"]["meta"]["pit_join"]["sensitive"] = True
    found = Hidden(Registry.from_manifest(manifest), manifest)
    names = {"role_0:view_000_feature_0": True, "role_1:view_001_feature_0": False, "gone:view_001_feature_0": True}
    assert {name: found.reference(name) for name in names} == names
    assert [found.key(name, ["user_id"]) for name in ("role_0", "role_1", "gone")] == [True, False, True]
    assert not hidden().reference("gone:view_000_feature_0")
    details = {**BARS, "labels": ["a", "b", "c"]}
    results = [
        Result("drift", f"role_{i} (view_00{i})", f"view_00{i}_feature_0", 0.1, text="words", details=details)
        for i in range(2)
    ]
    one, other = states(keep(tmp_path / "m", results), manifest)["series"]
    assert (one["role"], one["view"], "shares" in one, "text" in one) == ("role_0", "view_000", False, False)
    assert (other["role"], other["view"], "shares" in other, "text" in other) == ("role_1", "view_001", True, True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "it is not an object of JSON"),
        ("{", "Expecting"),
        ({}, "it has no '"),
        ({**AUDIT, "rows": "many"}, '"many" is not a whole number'),
        ({**AUDIT, "hints": [["<b>"]]}, "is not a text"),
        ({**AUDIT, "columns": 5}, "not iterable"),
        ("[" * 100_000, "recursion"),
        ('"' + "x" * 17_000_000 + '"', "is larger than 16,777,216 bytes"),
    ],
)
def test_a_file_of_something_else_is_refused(text: Any, problem: str, tmp_path: Path) -> None:
    with pytest.raises(PitJoinError, match=rf"cannot be shown as the JSON of pit-join audit: .*({problem})"):
        read_audit(written(tmp_path / "audit.json", text), hidden())


def test_an_explanation_of_too_many_rows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "e.json", {**EXPLANATION, "rows": EXPLANATION["rows"] * 2_001})
    with pytest.raises(PitJoinError, match="2,001 rows, and 2,000 can be drawn; use a smaller around="):
        read_explanation(path, hidden(), {})
    with pytest.raises(PitJoinError, match="cannot be read: No such file"):
        read_explanation(tmp_path / "none.json", hidden(), {})


# Projects -----------------------------------------------------------------------------------------------------


@pytest.mark.dbt
def test_the_page_of_the_demo(demo: Built, copy_of: Callable[[Built], Built], tmp_path: Path) -> None:
    directory = copy_of(demo).directory
    store = FeatureStore(directory)
    before = content_of(store.report(tmp_path / "before.html").path)
    assert before["notes"] == ["The online store could not be read, or nothing was exported to it yet."]
    store.export(as_of="2013-03-10 18:00")
    train = directory / "train.parquet"
    store.get_historical_features("flight_spine", "flight_delay_v1").write(train)
    keep_results(
        directory / "monitoring" / "dev", [Result("nulls", "airport_weather", "temp", 0.5, 0.1, breached=True)], NOW
    )
    made = store.report(tmp_path / "page.html", training_sets=[train], dbt_docs="https://docs.example.com/")
    content = content_of(made.path)
    assert (made.views, made.services, made.breaches, made.notes) == (10, 2, 1, ())
    assert made.size == made.path.stat().st_size
    views = {each["name"]: each for each in content["views"]}
    assert views["airport_weather"]["state"] == {
        "rows": 574, "newest": "2013-03-11T23:00:00Z", "exported": "2013-03-10T18:00:00Z", "served": 3,
    }  # fmt: skip
    assert ["lag", "1 hour"] in views["airport_weather"]["settings"]
    window = views["carrier_landings"]["features"][4]
    assert (window["name"], window["window"]) == ("carrier_late_landings_24h", "count over 1 day where arr_delay > 15")
    counted = views["carrier_daily_delay"]["features"][0]
    assert (counted["default"], counted["description"]) == ("0", "Flights that landed.")
    assert views["carrier_daily_delay"]["slo"] == {"within": "36 hours"}
    services = {each["name"]: each for each in content["services"]}
    assert services["flight_delay_v1"]["owners"] == ["Operations research <operations-research@example.com>"]
    items = {each.get("on_demand"): each for each in services["flight_delay_v2"]["items"]}
    assert items["minutes_since"]["arguments"] == [
        ["earlier", "aircraft_last_leg:landed_at"],
        ["moment", "event_timestamp"],
    ]
    assert {each["name"] for each in content["on_demand"]} == {"headwind", "hour_of_day", "minutes_since"}
    labels = [node["label"] for node in content["lineage"]["nodes"]]
    edges = {(labels[parent], labels[child]) for parent, child in content["lineage"]["edges"]}
    assert {
        ("weather", "stg_weather"),
        ("stg_weather", "airport_weather"),
        ("airport_weather", "flight_delay_v1"),
    } <= edges
    (coverage,) = content["sets"]
    assert (coverage["file"], coverage["rows"], len(coverage["coverage"])) == ("train.parquet", 2452, 9)
    assert content["docs"] == "https://docs.example.com/index.html"
    assert str(directory) not in made.path.read_text(), "the page names a folder of this machine"


SECRET = "sensitive: true"
COLUMN = "config: {{meta: {{owner: {{name: Ann, email: ann@example.com}}, pit_join: {{{}}}}}}}"


@pytest.mark.dbt
def test_nothing_sensitive_is_on_the_page(tmp_path: Path) -> None:
    column = COLUMN.format(f"default: SECRET-DEFAULT, {SECRET}")
    plain = COLUMN.format("default: shown-default")
    text = "data_type: varchar"
    views = {
        "columns": view(KEYS, f"{BASE}, {{name: grade, {text}, {column}}}, {{name: open, {text}, {plain}}}"),
        "whole": view(f"{KEYS}, {SECRET}", f"{BASE}, {{name: other, {text}, {plain.replace('shown', 'SECRET')}}}"),
        "windows": view(
            f"{KEYS}, aggregations: [{{name: n, function: count, window: 1 day, where: \"grade = 'SECRET-CASE'\"}}]",
            f"{BASE}, {{name: grade, {text}, config: {{meta: {{pit_join: {{{SECRET}}}}}}}}}",
        ),
    }  # fmt: skip
    directory = make_project(tmp_path / "shop", views)
    bars = {"labels": ["SECRET-CATEGORY"], "edges": None, "baseline": [1.0], "current": [1.0]}
    results = [
        Result("drift", name, feature, 0.4, 0.2, breached=True, text="SECRET-TEXT", impact="it hurts", details=bars)
        for name, feature in (("columns", "grade"), ("whole", "other"), ("a_role", "grade"))
    ]
    shown = Result(
        "drift", "columns", "open", 0.4, text="all may read this", details={**bars, "labels": ["open-category"]}
    )
    keep_results(directory / "monitoring" / "dev", [*results, shown], NOW)
    made = FeatureStore(directory).report(tmp_path / "page.html")
    text = made.path.read_text()
    assert "SECRET" not in text
    assert all(each in text for each in ("shown-default", "open-category", "all may read this", "it hurts", "grade"))
    content = content_of(made.path)
    marked = {each["name"]: each.get("sensitive") for one in content["views"] for each in one["features"]}
    assert marked == {"grade": True, "open": None, "other": True, "n": None}
    assert content["views"][0]["features"][0]["owners"] == ["Ann <ann@example.com>"]
    assert made.breaches == 3


@pytest.mark.dbt
def test_nothing_is_built(tmp_path: Path) -> None:
    directory = make_project(tmp_path / "shop", {"v": view(KEYS, f"{BASE}, {{name: x, data_type: double}}")})
    result = run("report", "--project-dir", str(directory), "--output", str(tmp_path / "page.html"))
    assert result.status == 0, result.err
    assert result.out.splitlines()[:2] == [
        "! dbt has built nothing yet: there is no warehouse. Run dbt build.",
        "! The online store could not be read, or nothing was exported to it yet.",
    ]
    assert re.fullmatch(r".*page\.html: 1 feature views, 1 features, 0 services", result.out.splitlines()[2])
    (found,) = content_of(tmp_path / "page.html")["views"]
    assert "state" not in found
    assert content_of(tmp_path / "page.html")["monitoring"] is None


@pytest.mark.dbt
def test_a_project_without_views_has_a_page(tmp_path: Path) -> None:
    directory = make_project(tmp_path / "shop", {})
    (directory / "models" / "models.yml").unlink()
    made = FeatureStore(directory).report(tmp_path / "page.html")
    assert (made.views, made.services) == (0, 0)


@pytest.mark.dbt
def test_owners_of_models_and_groups(tmp_path: Path) -> None:
    feature = f"{BASE}, {{name: x, data_type: double}}"
    owners = {
        "text": "owner: Ann, ",
        "listed": "owner: [Ann, {email: bob@example.com}, Ann], ",
        "grouped": "",
    }
    views = {
        name: view(KEYS, feature, more="group: growth, tags: [daily, gold], " if name == "grouped" else "").replace(
            "meta: {", f"meta: {{{owner}"
        )
        for name, owner in owners.items()
    }
    directory = make_project(
        tmp_path / "shop", views, "groups:\n  - {name: growth, owner: {name: Growth, email: g@example.com}}\n"
    )
    content = content_of(FeatureStore(directory).report(tmp_path / "page.html").path)
    found = {each["name"]: each["owners"] for each in content["views"]}
    assert found == {"text": ["Ann"], "listed": ["Ann", "bob@example.com"], "grouped": ["Growth <g@example.com>"]}
    assert {each["name"]: each.get("tags") for each in content["views"]}["grouped"] == ["daily", "gold"]


@pytest.mark.dbt
def test_a_request_that_cannot_be_met(tmp_path: Path) -> None:
    directory = make_project(tmp_path / "shop", {"v": view(KEYS, f"{BASE}, {{name: x, data_type: double}}")})
    store = FeatureStore(directory)
    with pytest.raises(RequestError, match=r"a report is an HTML page; name it FILE\.html, got .*page\.txt"):
        store.report(tmp_path / "page.txt")
    with pytest.raises(RequestError, match="there is no folder none"):
        store.report(tmp_path / "page.html", monitoring="none")
    with pytest.raises(PitJoinError, match="cannot write"):
        store.report(tmp_path / "none" / "page.html")
    with pytest.raises(PitJoinError, match=r"there is no file none\.parquet"):
        store.report(tmp_path / "page.html", training_sets=["none.parquet"])
    bad = (
        "javascript:alert(1)",
        "//evil.example",
        "ftp://x",
        "https://me:secret@x",
        "",
        "a?b",
        "a#b",
        "\\\\x",
        "data:x",
    )
    for url in bad:
        with pytest.raises(RequestError, match="is an address such as"):
            store.report(tmp_path / "page.html", dbt_docs=url)
    assert not (tmp_path / "page.html").exists()
    for url, index in (
        ("..", "../index.html"),
        ("../docs.html", "../docs.html"),
        ("http://x/y", "http://x/y/index.html"),
    ):
        assert content_of(store.report(tmp_path / "page.html", dbt_docs=url).path)["docs"] == index


# Over HTTP ----------------------------------------------------------------------------------------------------


def basic(text: bytes) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text).decode()}"}


def test_the_server_shows_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(make_page(NOTHING))
    with serving(tmp_path / "online", "--report", str(path)) as server:
        answer = server.client.get("/ui")
        assert (answer.status_code, answer.content) == (200, path.read_bytes())
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == f"{policy_of(answer.content)}; frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert server.client.post("/ui").status_code == 405
        path.write_bytes(make_page({**NOTHING, "project": "another"}))
        assert "<title>another: features" in server.client.get("/ui").text
        path.write_text("<script>alert(1)</script>")
        broken = server.client.get("/ui")
        assert (broken.status_code, broken.json()) == (
            503,
            {"detail": "the page is missing or broken; the log says more"},
        )
        path.unlink()
        assert server.client.get("/ui").status_code == 503


def test_the_key_is_the_password(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(make_page(NOTHING))
    with serving(tmp_path / "online", "--report", str(path), key="käy:1") as server:
        for wrong in (
            {},
            basic(b"me:wrong"),
            basic(b"me"),
            basic(b":"),
            {"Authorization": "Basic ???"},
            basic(b"k\xc3\xa4y:1:"),
        ):
            refused = server.client.get("/ui", headers=wrong)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == 'Basic realm="pit-join", charset="UTF-8"'
        for user in (b"", b"me"):
            assert server.client.get("/ui", headers=basic(user + b":k\xc3\xa4y:1")).status_code == 200
        assert server.client.get("/ui", headers={"X-API-Key": "käy:1".encode()}).status_code == 200
        assert server.client.get("/ui?key=k%C3%A4y:1").status_code == 401
        # A browser would send the password along with a request that another site makes.
        other = server.client.get("/metrics", headers=basic("me:käy:1".encode()))
        assert (other.status_code, other.headers["www-authenticate"]) == (401, "Bearer")


def test_without_a_page_there_is_no_path(tmp_path: Path) -> None:
    with serving(tmp_path / "online") as server:
        assert server.client.get("/ui").status_code == 404
    result = run("--store", str(tmp_path / "online"), "serve", "--report", str(tmp_path / "none.html"))
    assert (result.status, result.err) == (
        2,
        f"Error: the page {tmp_path}/none.html cannot be read: No such file or directory\n",
    )
    path = written(tmp_path / "other.html", "<p>")
    result = run("--store", str(tmp_path / "online"), "serve", "--report", str(path))
    assert "is not a page of pit-join report" in result.err
