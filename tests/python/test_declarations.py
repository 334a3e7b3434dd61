"""Declarations as Python reads them and as the macros do: each value of the corpus is accepted or refused by both.

The corpus says which, place by place; a new setting is a place there.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.portable import declared_for
from support.rule_sql import macro_nodes
from support.runs import sampled

from pit_join.definitions import aggregations, on_demand, reading
from pit_join.definitions.field_type import is_known, read_type
from pit_join.definitions.registry import Registry
from pit_join.definitions.requests import name_problems, with_versions
from pit_join.definitions.settings import _key_problem, feature_problem
from pit_join.errors import PitJoinError, ProjectError
from pit_join.project.rendering import Renderer
from pit_join.times import parse_instant

CORPUS: dict[str, dict[str, list[Any]]] = json.loads(
    (Path(__file__).parent / "corpus" / "declarations.json").read_text()
)
CASES = [
    pytest.param(place, value, accepted, id=f"{place}-{'right' if accepted else 'wrong'}-{json.dumps(value)}")
    for place, values in CORPUS.items()
    for accepted, listed in ((True, values["accepted"]), (False, values["refused"]))
    for value in listed
]
VALUES = [case for case in CASES if case.values[0] != "instant"]
INSTANTS = [case for case in CASES if case.values[0] == "instant"]
TYPES = {
    "user_id": "varchar", "event_timestamp": "timestamptz", "loaded": "timestamp", "day": "date", "number": "bigint",
    "value": "double", "money": "decimal(9, 2)", "ratio": "real", "word": "varchar", "flag": "boolean",
    "vector": "float[]",
}  # fmt: skip
META = {"entity": "user", "join_keys": ["user_id"]}
SUM = {"name": "x", "function": "sum", "column": "number", "window": "1 day"}
"""The columns of a view, its settings, and one aggregation; each case changes one value of such a project."""


def node(name: str, **more: Any) -> dict[str, Any]:
    columns = {column: {"name": column, "data_type": kind, "config": {"meta": {}}} for column, kind in TYPES.items()}
    config = {"event_time": "event_timestamp", "materialized": "table", "meta": {"pit_join": copy.deepcopy(META)}}
    return {
        "name": name, "resource_type": "model", "package_name": "shop", "unique_id": f"model.shop.{name}",
        "config": config,
        "patch_path": "shop://models/m.yml", "original_file_path": f"models/{name}.sql", "columns": columns,
        "relation_name": f'"{name}"', "database": "d", "schema": "s", "version": None, "latest_version": None, **more,
    }  # fmt: skip


def project() -> dict[str, Any]:
    """A project without a mistake: views, two versions of one, a window view, a service and an on-demand feature."""
    nodes = [node("logins"), node("dots.v2"), node("a.v"), node("sums")]
    nodes += [node("prefs", version=v, latest_version=2, unique_id=f"model.shop.prefs.v{v}") for v in (1, 2)]
    nodes[0]["config"]["meta"]["pit_join"]["entity"] = "person"
    sums = nodes[3]["config"]["meta"]["pit_join"]
    sums.update(created_timestamp="loaded", aggregations=[copy.deepcopy(SUM)])
    service = {
        "name": "risk", "type": "ml", "resource_type": "exposure", "patch_path": None,
        "original_file_path": "models/m.yml",
        "config": {"meta": {"pit_join": {"features": ["logins:value"]}}},
        "depends_on": {"nodes": [each["unique_id"] for each in nodes]},
    }  # fmt: skip
    macro = {
        "name": "lucky", "package_name": "shop", "patch_path": "shop://macros/m.yml",
        "config": {"meta": {"pit_join": {"returns": "double"}}}, "arguments": [{"name": "amount", "type": "double"}],
        "macro_sql": "", "unique_id": "macro.shop.lucky", "resource_type": "macro",
    }  # fmt: skip
    return {
        "metadata": {"project_name": "shop"}, "nodes": {each["unique_id"]: each for each in nodes},
        "exposures": {"exposure.shop.risk": service}, "macros": {"macro.shop.lucky": macro}, "sources": {},
    }  # fmt: skip


def changed(place: str, value: Any) -> dict[str, Any]:
    """The project with one value at a place of the corpus, which opens with the engine if that is not DuckDB."""
    engine, _, place = place.partition(" ") if place.startswith(("postgres ", "spark ")) else ("duckdb", "", place)
    found = declared_for(engine, project())
    logins, sums = (found["nodes"][f"model.shop.{name}"] for name in ("logins", "sums"))
    service, macro = found["exposures"]["exposure.shop.risk"], found["macros"]["macro.shop.lucky"]
    where, _, key = place.partition(".")
    asked = service["config"]["meta"]["pit_join"]
    aggregation = sums["config"]["meta"]["pit_join"]["aggregations"][0]
    if where in ("item", "items", "computed"):
        asked["features"] = value if where == "items" else ["logins:value", value] if where == "computed" else [value]
    elif where == "type":
        column = {
            "key": "user_id",
            "time": "event_timestamp",
            "deleted": "flag",
            "summed": "number",
            "feature": "value",
        }
        logins["config"]["meta"]["pit_join"]["deleted"] = "flag"
        (sums if key == "summed" else logins)["columns"][column[key]]["data_type"] = value
    elif where == "meta":
        logins["config"]["meta"].update({"pit_join": value} if key == "pit_join" else {value: {}})
        asked["features"] = ["prefs:value"]
    elif place == "keyless.nearest":
        logins["config"]["meta"]["pit_join"] = {"join_keys": []}
        logins["columns"]["vector"]["config"]["meta"]["pit_join"] = {"nearest": value}
    elif where == "keyless":
        settings = {"join_keys": [], key: value}
        logins["config"]["meta"]["pit_join"] = settings | ({"entity": "person"} if value == "user_id" else {})
    elif where == "static":
        logins["config"]["event_time"] = None
        logins["config"]["meta"]["pit_join"].update({"static": True, key: value})
        asked["features"] = ["prefs:value"]
    elif where == "several":
        del aggregation["window"]
        aggregation["windows"] = value
    elif where in ("typed", "named", "quoted"):
        name, kind = ("extra", key) if where == "typed" else (value, "integer" if engine == "postgres" else "int")
        own = {"meta": {"pit_join": {"default": value}}} if where == "typed" else {"meta": {}}
        column = {"name": name, "data_type": kind, "config": own, "quote": where == "quoted" or None}
        logins["columns"][name] = column
    elif where == "model":
        found["nodes"]["model.shop.more"] = {**logins, "name": value, "unique_id": "model.shop.more"}
    elif where == "counted":
        sums["columns"]["extra"] = {"name": "extra", "data_type": key, "config": {"meta": {}}}
        aggregation.update(function=value, column="extra", **({"n": 2} if value == "last_n" else {}))
    elif where == "last_n":
        aggregation.update(function="last_n", n=value)
    else:
        asked["features"] = ["prefs:value"] if where in ("column", "number") else asked["features"]
        {
            "view": logins["config"]["meta"]["pit_join"],
            "window": sums["config"]["meta"]["pit_join"],
            "aggregation": aggregation,
            "column": logins["columns"]["value"]["config"]["meta"].setdefault("pit_join", {}),
            "number": logins["columns"]["number"]["config"]["meta"].setdefault("pit_join", {}),
            "vector": logins["columns"]["vector"]["config"]["meta"].setdefault("pit_join", {}),
            "key": logins["columns"]["user_id"]["config"]["meta"].setdefault("pit_join", {}),
            "config": logins["config"],
            "service": asked,
            "exposure": service,
            "macro": macro["config"]["meta"]["pit_join"],
            "argument": macro["arguments"][0],
        }[where][key] = value
    return found


def said_by_python(manifest: dict[str, Any]) -> list[str]:
    registry, problems = Registry.read(manifest)
    for service in registry.services.values():
        requests = with_versions(service.requests, registry.latest)
        found = name_problems(requests, registry.views, service.full_feature_names, registry.engine)
        problems += [f"{service.path}: {service.name}: features: {problem}" for problem in found]
    return problems


def said_by_macros(manifest: dict[str, Any]) -> list[str]:
    macros = [
        {**macro, "where": f"macros/m.yml: {macro['name']}: ", "meta": macro["config"]["meta"]}
        for macro in manifest["macros"].values()
    ]
    renderer = Renderer({**manifest, "macros": macro_nodes()})
    found: list[str] = renderer.call("_declaration_problems", graph=manifest, macros=macros, project="shop")
    return found


def places_of(problems: list[str]) -> set[tuple[str, ...]]:
    """The file, the name and the key of each message."""
    return {tuple(problem.split(": ")[:3]) for problem in problems}


def test_the_project_has_no_mistake() -> None:
    assert (said_by_python(project()), said_by_macros(project())) == ([], [])


def test_both_know_which_name_of_two_packages_is_found() -> None:
    """`ref()` takes the model of the project itself, if there is one of that version."""
    found = project()
    view = {"package_name": "bought", "patch_path": "bought://models/theirs.yml"}
    plain = {"config": {"meta": {}}, "columns": {}}
    found["nodes"] |= {
        "model.bought.users": node("users", **view), "model.shop.users": node("users", **plain),
        "model.bought.late.v2": node("late", version=2, latest_version=3, **view),
        "model.shop.late": node("late", **plain),
        "model.bought.early": node("early", **view),
        "model.shop.early.v2": node("early", version=2, latest_version=2, **plain),
        "model.bought.own": node("own", **view, **plain), "model.shop.own": node("own"),
        "model.shop.twice": node("twice"), "model.bought.twice": node("twice", **view),
        "model.bought.sold": node("sold", **view), "model.third.sold": node("sold", package_name="third", **plain),
    }  # fmt: skip
    found["exposures"]["exposure.bought.risk"] = found["exposures"]["exposure.shop.risk"]
    hidden = (
        "models/theirs.yml: {0}: name: ref('{0}') finds models/m.yml of the package shop, and not this feature view of "
        "the package bought; rename or disable one of the two"
    )
    assert said_by_macros(found) == [
        "models/m.yml: risk: name: two feature services have this name; the other is in models/m.yml",
        hidden.format("early"),
        "models/theirs.yml: twice: name: two feature views have this name; the other is in models/m.yml",
        hidden.format("users"),
    ]
    assert sorted(said_by_python(found)) == said_by_macros(found)


@pytest.mark.parametrize(("place", "value", "accepted"), sampled(VALUES, 120))
def test_both_read_a_value_alike(place: str, value: Any, accepted: bool) -> None:
    manifest = changed(place, value)
    python, macros = said_by_python(manifest), said_by_macros(manifest)
    assert (not python, not macros) == (accepted, accepted), (python, macros)
    assert places_of(python) == places_of(macros)


@pytest.mark.parametrize(("place", "value", "accepted"), sampled(INSTANTS, 20))
def test_both_read_an_instant_alike(place: str, value: Any, accepted: bool) -> None:
    renderer = Renderer({**project(), "macros": macro_nodes()})
    if not accepted:
        with pytest.raises(PitJoinError, match="cannot read the instant"):
            parse_instant(value)
        with pytest.raises(ProjectError, match="cannot read the instant"):
            renderer.call("_as_of", value)
        return
    (microseconds,) = duckdb.connect().execute(f"select {renderer.call('_as_of', value)}").fetchall()[0]
    assert microseconds == duckdb.connect().execute("select epoch_us(?)", [parse_instant(value)]).fetchall()[0][0]


def test_both_know_the_same_settings() -> None:
    renderer = Renderer({**project(), "macros": macro_nodes()})
    python = {
        "view": reading._VIEW_KEYS, "column": reading._COLUMN_KEYS, "service": reading._SERVICE_KEYS,
        "aggregation": aggregations._KEYS, "on_demand": on_demand._KEYS,
    }  # fmt: skip
    assert {what: set(renderer.call("_settings", what)) for what in python} == {
        what: set(keys) for what, keys in python.items()
    }
    unseen = {
        f"{what}.{key}"
        for what, keys in {"view": reading._VIEW_KEYS, "column": reading._COLUMN_KEYS}.items()
        for key in keys
    } - set(CORPUS)
    assert unseen == {"view.aggregations"}, "settings without cases in the corpus"


def test_both_name_the_views_whose_keys_are_unusual() -> None:
    """Most views of an entity are right; one of them is named."""
    found = project()
    found["exposures"].clear()
    for each in found["nodes"].values():
        each["config"]["meta"]["pit_join"]["entity"] = "user"
    found["nodes"]["model.shop.logins"]["config"]["meta"]["pit_join"]["join_keys"] = ["number"]
    said = [
        "models/m.yml: logins: join_keys: views of one entity share its keys; '\"dots.v2\"' of 'user' has ['user_id'], "
        "got ['number']"
    ]
    assert (said_by_python(found), said_by_macros(found)) == (said, said)


def names_of_types() -> list[str]:
    rows = duckdb.connect().execute("select distinct lower(type_name) from duckdb_types() order by 1").fetchall()
    needs_more = ("array", "list", "null", "type", "parquet_variant")
    return [name for (name,) in rows if name not in needs_more]


def limits(integer: str) -> tuple[int, int]:
    """The least and the greatest value of an integer type, by what DuckDB converts."""
    tried = [
        0,
        *(
            side * 2**bits - edge
            for bits in (7, 8, 15, 16, 31, 32, 63, 64, 127, 128)
            for side in (1, -1)
            for edge in (0, 1)
        ),
    ]
    texts = [str(value) for value in tried]
    rows = duckdb.connect().execute(
        f"select v from unnest(?::varchar[]) as t(v) where try_cast(v as {integer}) is not null", [texts]
    )
    fitting = [int(value) for (value,) in rows.fetchall()]
    return min(fitting), max(fitting)


@pytest.mark.parametrize("name", sampled(names_of_types(), 20))
def test_both_know_the_types_of_duckdb(name: str) -> None:
    nested = {
        "struct": "(a int)",
        "row": "(a int)",
        "tuple": "(int)",
        "map": "(int, int)",
        "union": "(a int)",
        "enum": "('a')",
    }
    text = name + nested.get(name, "")
    found = Renderer({**project(), "macros": macro_nodes()}).call("_type_of", text)
    python = read_type(text)
    assert is_known(text)
    assert found["known"] is True
    number = {"integer", "decimal", "float"} & {found["family"]}
    assert (python.number or "") == "".join(number)
    if python.number == "integer":
        assert (found["least"], found["most"]) == python.limits == limits(text)
    compared = ("text", "time", "BOOLEAN", "STRUCT")
    assert (python.family in compared, found["family"] in compared) in ((False, False), (True, True))
    assert python.family not in compared or python.family == found["family"]
    assert found["key"] is (_key_problem(python) is None)
    assert found["feature"] is (feature_problem(python) is None)
