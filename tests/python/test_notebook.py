"""What notebooks show of objects: sound and short HTML, with everything escaped; and the notebook of the examples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from support.dbt import ROOT, Built
from support.stores import put

from pit_join import FeatureStore
from pit_join.markup import Html, Lane, bar, cell, table, timeline
from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew, SkewExample, StaleView
from pit_join.monitoring.freshness import FeatureFreshness, Freshness
from pit_join.online.opening import open_store
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import NOT_FOUND, OFFLINE, PRESENT
from pit_join.training.explanation import (
    ExplainedArgument,
    ExplainedRow,
    ExplainedWindow,
    Explanation,
    OnlineValue,
    Verdict,
)
from pit_join.training.result import Coverage, TrainingSet

NOTEBOOK = ROOT / "examples" / "notebook" / "pit_join.ipynb"
HOUR = 3_600_000_000
NOON = 1_362_744_000_000_000  # 2013-03-08 12:00 UTC, in microseconds
EVIL = "<script>alert('x')</script>\" onload=\"y&amp;\u202e\x1b[31m"
TAGS = {
    "div", "p", "strong", "span", "ul", "li", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "svg",
    "g", "rect", "line", "circle", "text", "title",
}  # fmt: skip
ATTRIBUTES = {
    "style", "title", "role", "width", "height", "viewBox", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "fill",
    "fill-opacity", "stroke", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "text-anchor",
}  # fmt: skip
STYLES = {"text-align", "padding", "opacity", "max-width"}
COLOURS = {"none", "currentColor"}


def met(alias: str = "weather", present: int = 3, missing: int = 1, hints: tuple[str, ...] = ()) -> Coverage:
    statuses = dict.fromkeys(OFFLINE, 0) | {PRESENT: present, NOT_FOUND: missing}
    return Coverage(alias, "weather", present + missing, statuses, {"p50": 60.0}, 10, 0, 0.5, hints)


def training_set(rows: int = 4, columns: int = 1, name: str = "temp") -> TrainingSet:
    values = pa.array([None, *[1.0] * (rows - 1)])
    features = pa.table({f"{name}{i or ''}": values for i in range(columns)})
    return TrainingSet(None, features, "select 1", (met(name, rows - 1, 1, (name,)),), {})


def explanation(rows: int = 3, text: str = "temp", **others: Any) -> Explanation:
    """As of noon: the first rows are superseded, one is chosen, and the last is later."""
    verdicts = [*[Verdict.SUPERSEDED] * (rows - 2), Verdict.CHOSEN, Verdict.LATER]
    found = tuple(
        ExplainedRow(
            verdict, i + 1, NOON + (i - rows + 1) * HOUR + HOUR // 2, NOON + (i - rows + 2) * HOUR, (float(i),)
        )
        for i, verdict in enumerate(verdicts)
    )
    given: dict[str, Any] = {
        "view": "weather", "keys": {"airport": text}, "at": NOON, "asked": NOON, "rule": (f"known\n{text}",),
        "statuses": {text: PRESENT}, "event": NOON - HOUR // 2, "values": {text: 1.5}, "defaulted": (text,),
        "rows": found,
        "counts": {"rows": rows, "known": rows, "before": rows - 1, "after": 1, "undated": 0},
        "types": {text: "double", "airport": "string"},
        "online": OnlineValue(NOON, NOON, {text: 2.5}, {text: PRESENT}, {text: "double"}, {text: 1.5}, (text,)),
    }  # fmt: skip
    return Explanation(**given | others)


def freshness(text: str = "temp") -> Freshness:
    age = {"known": NOON - HOUR, "served": None, "exported_at": NOON, "online": True, "age": None, "slo": 60.0}
    breached = FeatureFreshness("weather", text, **age, impact=text, owner=text, lost=text)
    return Freshness(NOON, (breached, FeatureFreshness(text, "dew", NOON, NOON, NOON, True, 0.0, 60.0)), (text,))


def skew(text: str = "temp") -> Skew:
    at = datetime(2013, 3, 8, 12, tzinfo=timezone.utc)
    example = SkewExample({text: text}, at, text, PRESENT, text, PRESENT, text)
    feature = FeatureSkew("weather", text, text, 10, 7, 1, 2, examples=[example])
    return Skew(10, (feature,), (StaleView(text, 1, 60.0, 60.0, 90.0, 30.0),), (text,), (text,), (text,))


def answer(folder: Path, key: str = "JFK", rows: int = 2) -> Any:
    store = open_store(str(folder / "online"), create=True)
    put(store, {"weather": {"airport": [key], "temp": [1.5], "sky": [key]}}, keys=("airport",), entity="airport")
    asked = [{"airport": key}, *[{"airport": "none"}] * (rows - 1)]
    return OnlineReader(store, [Request("weather", ("*",), "weather")]).get_online_features(asked)


ARGUMENT = ExplainedArgument(EVIL, EVIL, EVIL, "string", EVIL, NOON, NOON)
WINDOW = ExplainedWindow(EVIL, EVIL, EVIL, "string", 1, (ExplainedRow(Verdict.COUNTED, 1, NOON, NOON, (EVIL,), NOON),))
SHOWN: dict[str, Callable[[Path], Any]] = {
    "training set": lambda _: training_set(name=EVIL),
    "coverage": lambda _: met(EVIL, hints=(EVIL,)),
    "online": lambda folder: answer(folder, EVIL),
    "one row online": lambda folder: answer(folder, EVIL, rows=1),
    "no row online": lambda folder: answer(folder, EVIL, rows=0),
    "store": lambda _: FeatureStore(EVIL, profiles_dir=EVIL, target=EVIL, online_store=EVIL, online_stores={EVIL: "a"}),
    "freshness": lambda _: freshness(EVIL),
    "skew": lambda _: skew(EVIL),
    "monitoring": lambda _: Monitoring(skew(EVIL), freshness(EVIL)),
    "explanation": lambda _: explanation(text=EVIL),
    "arguments": lambda _: explanation(text=EVIL, rows=2, arguments=(ARGUMENT,), online=EVIL),
    "window": lambda _: explanation(text=EVIL, windows=(WINDOW,), online=None),
}


def parsed(shown: str) -> ElementTree.Element:
    """The markup as a tree, which it is only if every element is closed and every text escaped."""
    return ElementTree.fromstring(shown)


def text_of(shown: str) -> str:
    return " ".join("".join(f" {text} " for text in parsed(shown).itertext()).split())


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_name_holds_stays_text(name: str, tmp_path: Path) -> None:
    found = SHOWN[name](tmp_path)
    shown = found._repr_html_()
    for element in parsed(shown).iter():
        assert element.tag in TAGS
        assert element.attrib.keys() <= ATTRIBUTES
        assert {part.partition(":")[0] for part in element.get("style", "").split(";") if part} <= STYLES
        assert {element.get("fill", "none"), element.get("stroke", "none")} <= COLOURS
    assert "alert(" in shown or name == "no row online"
    assert all(character.isprintable() for character in shown), "control characters could reorder what is read"
    assert len(repr(found)) < 600
    assert repr(found).isprintable()


def test_a_training_set_shows_its_coverage_and_its_columns() -> None:
    found = training_set()
    assert repr(found) == "<TrainingSet: 4 rows, 1 columns of features, 1 views>"
    text = text_of(found._repr_html_())
    assert "temp (weather) present: 3 of 4 not found: 1 of 4 3 of 4 1 1.0 min" in text
    assert "temp: temp features" in text  # the hint
    assert "temp double 1 not null: 3 of 4" in text
    assert repr(found.coverage[0]) == "<Coverage: temp (weather) matched 3 of 4 rows>"


def test_large_objects_are_short() -> None:
    large = training_set(1_000_000, 3_000)
    assert repr(large) == "<TrainingSet: 1,000,000 rows, 3,000 columns of features, 1 views>"
    assert "… 2,900 more" in text_of(large._repr_html_())
    assert len(large._repr_html_()) < 100_000
    many = explanation(20_000)
    assert len(many._repr_html_()) < 100_000
    drawn = [each.tag for each in parsed(many._repr_html_()).iter() if each.tag == "circle"]
    assert len(drawn) == 30
    assert "100 of 20,000 rows" in text_of(many._repr_html_())
    names = [f"n{i}" for i in range(500)]
    row = ExplainedRow(Verdict.CHOSEN, 1, NOON, NOON, tuple(range(500)))
    types = {"airport": "string", **dict.fromkeys(names, "integer")}
    wide = replace(
        explanation(online=None), values=dict.fromkeys(names, 1), statuses=dict.fromkeys(names, PRESENT), types=types,
        rows=(row,),
    )  # fmt: skip
    assert len(repr(wide)) < 300
    text = text_of(wide._repr_html_())
    assert "n99 = 1 (PRESENT, 30.0 min old) … 400 more" in text
    assert "12 of 500 features" in text


def test_online_features_show_the_first_rows_and_count_all(tmp_path: Path) -> None:
    found = answer(tmp_path, rows=8)
    text = text_of(found._repr_html_())
    assert "OnlineFeatures: 8 rows (the first 5 are shown), 2 features" in text
    assert "temp 1.5 - - - - 1 PRESENT, 7 NOT_FOUND PRESENT: 1 of 8 NOT_FOUND: 7 of 8" in text
    assert text.count("airport=none") == 4
    titles = [each.get("title") for each in parsed(found._repr_html_()).iter("span")]
    assert titles[:2] == ["PRESENT, 1970-01-01 00:00:00 UTC", "NOT_FOUND"]


def test_an_answer_is_shown_without_loading_anything_before(tmp_path: Path) -> None:
    """A service, which shows nothing, does not load the modules that draw."""
    answer(tmp_path)
    code = """
import sys
from pit_join import FeatureStore
store = FeatureStore(online_store=sys.argv[1])
found = store.get_online_features(["weather:temp"], [{"airport": "JFK"}], now="1970-01-01")
repr(found), repr(store)
print(found.to_dict()["temp"], [name for name in ("pit_join.markup", "html", "pyarrow") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "online")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[1.5] []\n"


def test_a_feature_store_shows_what_was_given_and_no_secret(tmp_path: Path) -> None:
    """It opens nothing: neither the folder nor the server exists."""
    urls = {"fast": "redis://app:secret@host:1/0", "odd": "redis:/:secret@host"}
    store = FeatureStore(tmp_path / "nowhere", target="prod", online_store="rediss://:secret@h:1/0", online_stores=urls)
    for shown in (repr(store), text_of(store._repr_html_())):
        assert "secret" not in shown
        assert all(each in shown for each in (f"{tmp_path}/nowhere", "prod", "rediss://h:1/0", "redis://host:1/0"))
    assert repr(FeatureStore()) == "<FeatureStore: project_dir='.'>"
    assert not list(tmp_path.iterdir())


def test_monitoring_shows_each_check() -> None:
    found = Monitoring(skew(), freshness())
    assert repr(found) == (
        "<Monitoring: <Freshness: 1 of 2 features too old at 2013-03-08 12:00:00 UTC>, "
        "<Skew: 10 rows, 10 values: 7 match, 1 stale, 2 different>>"
    )
    text = text_of(found._repr_html_())
    assert "weather temp 1.0 h - 0.0 s 1.0 min no value" in text
    assert "match: 7 of 10 stale: 1 of 10 different: 2 of 10 10 7 1 2" in text
    assert "weather:temp, temp=temp, 2013-03-08 12:00:00: temp (PRESENT), not temp (PRESENT)" not in text  # has a role
    assert "temp (weather):temp, temp=temp, 2013-03-08 12:00:00: temp (PRESENT), not temp (PRESENT)" in text
    assert text.startswith("Monitoring: something needs attention")
    assert repr(Monitoring()) == "<Monitoring: >"
    assert text_of(Monitoring()._repr_html_()) == "Monitoring: nothing found"
    unread = Monitoring(freshness=Freshness(NOON, (), ("a store",)))
    assert "not everything could be looked at" in text_of(unread._repr_html_())


def test_an_explanation_draws_the_chosen_row_before_the_time_asked() -> None:
    found = explanation()
    assert repr(found) == (
        "<Explanation: weather airport=temp T = 2013-03-08 12:00:00 UTC: "
        "temp = 1.5, the declared default (PRESENT, 30.0 min old)>"
    )
    tree = parsed(found._repr_html_())
    marked = [each for each in tree.iter("g") if each.get("opacity") == "1"]
    assert [next(iter(each)).text for each in marked] == ["2013-03-08 11:30:00, known from 2013-03-08 12:00:00: chosen"]
    points = [float(str(each.get("cx"))) for each in tree.iter("circle")]
    (asked,) = (float(str(each.get("x1"))) for each in tree.iter("line") if each.get("stroke-dasharray"))
    assert points == sorted(points)
    assert points[1] < asked < points[2]
    assert "online, as of the export of 2013-03-08 12:00:00 UTC: temp = 2.5 (PRESENT)" in text_of(found._repr_html_())


def test_a_timeline_keeps_within_its_frame() -> None:
    """Also where all times are one, and where an end lies years behind."""
    for lanes in (
        [Lane(NOON, NOON, "one", True)],
        [Lane(NOON, None, "one")],
        [Lane(NOON - HOUR, NOON * 2, "late"), Lane(NOON, NOON + 1, "b")],
    ):
        tree = parsed(timeline(lanes, NOON, "asked"))
        width = float(str(tree.get("width")))
        at = [float(str(each.get(name))) for each in tree.iter() for name in ("x1", "x2", "cx") if each.get(name)]
        assert len(at) == 5 * len(lanes) + 2
        assert all(0 < each < width for each in at)
    far, near = (
        float(str(next(parsed(timeline([Lane(NOON - HOUR, end, "")], NOON, "")).iter("line")).get("x2")))
        for end in (NOON * 2, NOON - HOUR // 2)
    )
    assert near < far
    assert timeline([], NOON, "asked") == ""


def test_a_bar_is_filled_by_shares() -> None:
    def widths(parts: dict[str, int]) -> list[float]:
        *parts_drawn, frame = parsed(bar(parts)).iter("rect")
        assert float(str(frame.get("width"))) == 120
        return [float(str(each.get("width"))) for each in parts_drawn]

    assert widths({"a": 1, "b": 0, "c": 3}) == [30, 90]
    assert widths({"a": 0}) == widths({}) == []


def test_a_table_escapes_what_is_not_markup() -> None:
    shown = table(["a<b", "n"], [[cell("x<y", title='"'), "1"], [Html("<em>e</em>"), "2"]], right=(1,))
    assert "<em>e</em>" in shown
    assert "a&lt;b" in shown
    assert 'title="&quot;"' in shown
    assert shown.count("text-align:right") == 3


def test_the_committed_notebook_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [each for each in cells if each["cell_type"] == "code"]
    assert len(code) > 8
    assert {(len(each["outputs"]), each["execution_count"]) for each in code} == {(0, None)}


@pytest.mark.dbt
@pytest.mark.rest
def test_the_notebook_of_the_example_runs(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    import nbformat  # here, since they take longer to load than all other tests of this file
    from nbclient import NotebookClient

    folder = copy_of(demo).directory / "examples" / "notebook"
    folder.mkdir(parents=True)
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for each in notebook.cells for output in each.get("outputs", [])]
    assert [output for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    (printed,) = (output.text for output in outputs if output.output_type == "stream")
    assert float(printed.split(": ")[1]) > 0.6, printed
    data = [output.data for output in outputs if output.output_type == "execute_result"]
    found = {each["text/plain"].split(":")[0].strip("<"): each for each in data}
    for name in ("FeatureStore", "TrainingSet", "Explanation", "OnlineFeatures", "Monitoring"):
        parsed(found[name]["text/html"])
    checks = "".join(each["text/plain"] for each in data if each["text/plain"].startswith("<Monitoring"))
    assert " 0 stale, 0 different" in checks
    assert re.search(r"<Drift: [1-9]\d* of \d+ features have drifted>", checks), checks
    assert "<svg" in found["Monitoring"]["text/html"]
