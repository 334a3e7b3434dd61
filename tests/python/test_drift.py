"""Drift: distances held against SciPy, alarms that chance alone does not raise, and shifts that are found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.spatial.distance
import scipy.stats
from support.rule_sql import macro_nodes
from support.runs import LONG

from pit_join.monitoring.drift import _unlikely
from pit_join.project.rendering import Renderer
from pit_join.training.profiles import FeatureDrift, FeatureProfile, ProfiledColumn, drifts_of, kind_of, profiles_of
from pit_join.training.set_profiler import scratch
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

RUNS = 100 if LONG else 1
FEATURES = 500
ENTITY_ROWS = 20
Columns = Mapping[str, Any]


class _Macros:
    """The macros of the package, without a project."""

    def __init__(self) -> None:
        nodes = {
            "macros": macro_nodes(),
            "nodes": {},
            "sources": {},
            "exposures": {},
            "metadata": {"project_name": "shop"},
        }
        self._renderer = Renderer(nodes)

    def text(self, macro: str, **arguments: Any) -> str:
        return str(self._renderer.call(macro, **arguments))


MACROS: Any = _Macros()


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBWarehouse]:
    with scratch() as opened:
        yield opened


def _columns(table: pa.Table) -> list[ProfiledColumn]:
    names = [name for name in table.column_names if name != "entity"]
    return [ProfiledColumn(name, name, kind_of(table.schema.field(name).type)) for name in names]


def drift(
    session: DuckDBWarehouse, before: Columns, now: Columns, cluster: Sequence[str] = ()
) -> tuple[dict[str, FeatureProfile], dict[str, FeatureDrift]]:
    """The profiles of some columns, and the drift of others from these."""
    tables = [pa.table(dict(columns)) for columns in (before, now)]
    for name, table in zip(("before", "now"), tables, strict=True):
        session.register(name, table)
    columns = _columns(tables[0])
    profiles = profiles_of(session, MACROS, "before", columns, cluster)
    return profiles, drifts_of(session, MACROS, "now", columns, cluster, profiles)


# Against SciPy ----------------------------------------------------------------------------------------------------


def _drawn(rng: np.random.Generator, rows: int, number: int) -> Any:
    """Values of one of many shapes; None where the value is missing."""
    shift, scale = rng.choice([0, 0.2, 1.0]), rng.choice([1, 1.3])
    drawn = [
        lambda: rng.normal(shift, scale, rows),
        lambda: rng.standard_t(1.2, rows) * scale + shift,
        lambda: np.where(rng.random(rows) < 0.8 - 0.2 * shift, 0.0, rng.exponential(scale, rows)),
        lambda: rng.poisson(2 + shift, rows).astype(float),
        lambda: np.full(rows, 7.0 + (shift > 0.5)),
        lambda: np.round(rng.normal(shift, 2 * scale, rows)),
        lambda: rng.choice([-1.5, 0.0, 0.25, 1e9], rows),
    ][number % 7]()
    return pa.array(drawn, mask=rng.random(rows) < rng.choice([0, 0.1]))


def _shares(profile: FeatureProfile, values: pa.Array) -> np.ndarray[Any, Any]:
    """The shares of the bins in which the macros are to count, from the profile's ends alone."""
    edges, counts = np.array(profile.edges), np.array(profile.counts)
    numbers = values.drop_null().to_numpy()
    fine = np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1)
    fine = np.array([*fine, 0, values.null_count, 0])
    own, middle, total = counts[: len(edges) + 1], 0.0, max(counts[: len(edges) + 1].sum(), 1)
    coarse: dict[int, float] = {}
    for number, count in enumerate(own):
        place = min(profile.bins - 1, math.floor(profile.bins * (middle + count / 2) / total))
        coarse[place] = coarse.get(place, 0) + fine[number]
        middle += count
    return np.array([*(coarse.get(place, 0) for place in range(profile.bins)), *fine[-3:]]) / len(values)


@pytest.mark.rest
def test_distances_are_those_of_scipy(session: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(20261130)
    checked = 0
    for rows, others in ((900, 700), (2500, 600), (5000, 5000), (3000, 20000)):
        before = {f"x{number}": _drawn(rng, rows, number) for number in range(50)}
        now = {f"x{number}": _drawn(rng, others, number) for number in range(50)}
        profiles, found = drift(session, before, now)
        for name, one in found.items():
            checked += 1
            p, q = _shares(profiles[name], before[name]), _shares(profiles[name], now[name])
            used = (p > 0) | (q > 0)
            p, q = p[used], q[used]
            assert one.js == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2), abs=1e-9)
            p0, q0 = np.maximum(p, 0.5 / rows), np.maximum(q, 0.5 / others)
            assert one.psi == pytest.approx(float(((q0 - p0) * np.log(q0 / p0)).sum()), abs=1e-9)
            exact = scipy.stats.ks_2samp(before[name].drop_null().to_numpy(), now[name].drop_null().to_numpy())
            assert one.ks is not None
            assert one.ks - 1e-9 <= exact.statistic <= one.ks + (one.ks_error or 0) + 1e-9
            assert (one.rows, one.nulls) == (others, now[name].null_count)
            noise = 1 / rows + 1 / others
            ratio = float((2 * (p - q) ** 2 / (p + q)).sum()) / (noise * max(len(p) - 1, 1))
            if len(p) > 3 and (chance := scipy.stats.chi2.sf(ratio * (len(p) - 1), len(p) - 1)) > 1e-12:
                assert one.noise == pytest.approx(scipy.stats.norm.isf(chance), abs=0.35)
    assert checked == 200


def test_a_profile_has_bins_without_doubles(session: DuckDBWarehouse) -> None:
    """A frequent value has a bin of its own; edges ascend; NaN, infinity, nulls and constants have their place."""
    rng = np.random.default_rng(1)
    nan = np.where(rng.random(4000) < 0.1, np.nan, rng.normal(0, 1, 4000))
    columns = {
        "zeros": np.where(rng.random(4000) < 0.95, 0.0, rng.random(4000)),
        "negative": np.where(rng.random(4000) < 0.5, -1.5, rng.random(4000)),
        "nan": nan,
        "infinite": np.where(rng.random(4000) < 0.1, np.inf, rng.normal(0, 1, 4000)),
        "constant": np.full(4000, -0.0),
        "huge": rng.normal(0, 1e300, 4000),
        "empty": pa.nulls(4000, pa.float64()),
    }
    profiles, found = drift(session, columns, columns)
    for name, profile in profiles.items():
        edges = list(profile.edges or ())
        assert edges == sorted(set(edges)), name
        assert sum(profile.counts) == profile.rows == 4000, name
        assert (found[name].psi, found[name].js) == (0, 0), name
    for name, value in (("zeros", 0.0), ("negative", -1.5), ("constant", 0.0)):
        place = list(profiles[name].edges or ()).index(value)
        assert profiles[name].counts[place] == (np.asarray(columns[name]) == value).sum()
    assert profiles["nan"].nans == np.isnan(nan).sum()
    assert profiles["infinite"].counts[-4] == np.isinf(columns["infinite"]).sum()
    assert profiles["empty"].nulls == 4000
    assert profiles["zeros"].quantile(0.5) == 0.0


def test_texts_are_counted_by_their_most_frequent(session: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(2)
    texts = rng.choice(["it's", "", "ä", '"', "x" * 200], 3000, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    many = np.array([f"k{number}" for number in rng.integers(0, 10**6, 3000)])
    flags = np.where(rng.random(3000) < 0.5, "true", "false")
    profiles, found = drift(
        session,
        {"texts": texts, "many": many, "flags": flags},
        {"texts": np.where(texts == "ä", "new", texts), "many": many[::-1], "flags": flags},
    )
    assert profiles["texts"].categories == ["", '"', "it's", "ä"]  # a long text counts among the others
    assert profiles["texts"].counts[2] == (texts == "it's").sum()
    assert len(profiles["many"].categories or ()) == 50
    shares = dict(zip(found["texts"].labels or (), found["texts"].current or (), strict=True))
    assert (shares["ä"], shares["other"]) == (0, pytest.approx(np.isin(texts, ["ä", "x" * 200]).mean()))
    assert (found["texts"].psi or 0) > 1
    assert found["many"].psi == 0
    assert profiles["flags"].categories == ["false", "true"]


def test_rows_without_a_feature_and_values_that_were_not_found(session: DuckDBWarehouse) -> None:
    table = {"x": pa.array([1.0, 1.0, None, 1.0, 5.0]), "found": pa.array([True, False, True, None, True])}
    session.register("marked", pa.table(table))
    (profile,) = profiles_of(session, MACROS, "marked", [ProfiledColumn("x", "x", "number", "found")], ()).values()
    assert (profile.rows, profile.nulls, profile.missing, profile.mean) == (4, 1, 1, 3.0)


# Chance -----------------------------------------------------------------------------------------------------------


def _table(rng: np.random.Generator, entities: int) -> dict[str, Any]:
    """Features of six shapes without drift, of entities with 20 rows; of every other feature these rows are equal."""
    rows = entities * ENTITY_ROWS
    columns: dict[str, Any] = {"entity": np.repeat(rng.integers(0, 2**60, entities), ENTITY_ROWS)}
    letters = np.array(list("abcdefgh"))
    for number in range(FEATURES):
        equal = number // 6 % 2 == 0
        drawn = entities if equal else rows
        values = [
            lambda n=drawn: rng.normal(0, 1, n),
            lambda n=drawn: rng.standard_t(1.5, n),
            lambda n=drawn: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(1, n)),
            lambda n=drawn: rng.poisson(3, n).astype(float),
            lambda n=drawn: np.full(n, 7.0),
            lambda n=drawn: letters[np.minimum(rng.geometric(0.4, n) - 1, 7)],
        ][number % 6]()
        columns[f"f{number}"] = np.repeat(values, ENTITY_ROWS) if equal else values
    return columns


def alarms(found: Mapping[str, FeatureDrift], bound: float) -> set[str]:
    """The features of a run that would be an alarm."""
    unlikely = set(_unlikely({name: one.noise for name, one in found.items() if one.noise is not None}))
    return {name for name in unlikely if (found[name].psi or 0) > bound}


@pytest.mark.rest
def test_chance_raises_no_alarm(session: DuckDBWarehouse) -> None:
    """500 features, 20 rows an entity, a bound of 0.05 which chance alone exceeds in many: at most one run in 100."""
    rng = np.random.default_rng(3)
    raised = exceeded = 0
    for _ in range(RUNS):
        _, found = drift(session, _table(rng, 250), _table(rng, 200), ["entity"])
        raised += bool(alarms(found, 0.05))
        exceeded += sum((one.psi or 0) > 0.05 for one in found.values())
    assert raised <= 1
    assert exceeded > 50 * RUNS  # without the correction for entities these were alarms


@pytest.mark.rest
def test_a_few_large_entities_raise_no_alarm(session: DuckDBWarehouse) -> None:
    """Of fifty entities a few have most rows, as customers do; all rows of one are equal."""
    rng = np.random.default_rng(21)

    def table() -> dict[str, Any]:
        sizes = np.minimum((rng.pareto(1.0, 50) * 5 + 1).astype(int), 20_000)
        columns = {f"f{number}": np.repeat(rng.normal(0, 1, 50), sizes) for number in range(10)}
        return {"entity": np.repeat(rng.integers(0, 2**60, 50), sizes), **columns}

    raised = sum(bool(alarms(drift(session, table(), table(), ["entity"])[1], 0.2)) for _ in range(40))
    assert raised == 0


@pytest.mark.rest
def test_without_clusters_equal_rows_would_be_alarms(session: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(4)
    before, now = ({name: table[name] for name in list(table)[:61]} for table in (_table(rng, 250), _table(rng, 200)))
    _, found = drift(session, before, now)
    assert len(alarms(found, 0.05)) > 5


@pytest.mark.rest
@pytest.mark.parametrize(
    ("rows", "now", "shift", "bound", "least"),
    [
        (10_000, 500, 0.5, 0.2, 0.85),
        (500, 500, 0.5, 0.2, 0.85),
        (5_000, 5_000, 0.5, 0.2, 0.99),
        (100_000, 5_000, 0.5, 0.2, 0.99),
        (5_000, 5_000, 0.25, 0.03, 0.99),
        (100_000, 100_000, 0.1, 0.005, 0.99),
    ],
)
def test_shifts_are_found(
    session: DuckDBWarehouse, rows: int, now: int, shift: float, bound: float, least: float
) -> None:
    rng = np.random.default_rng(5)
    times = (200 if LONG else 60) if rows * now < 10**8 else (50 if LONG else 10)
    before = {"entity": np.arange(rows), **{f"f{i}": rng.normal(0, 1, rows) for i in range(times)}}
    moved = {"entity": np.arange(now), **{f"f{i}": rng.normal(shift, 1, now) for i in range(times)}}
    _, found = drift(session, before, moved, ["entity"])
    assert sum(bool(alarms({name: one}, bound)) for name, one in found.items()) >= least * times


@pytest.mark.rest
@pytest.mark.parametrize(
    ("rows", "now", "shift", "bound"),
    [(500, 500, 0.25, 0.2), (10_000, 5_000, 0.3, 0.2), (5_000, 5_000, 0.1, 0.03), (100_000, 100_000, 0.05, 0.005)],
)
def test_smaller_shifts_than_the_bound_are_silent(
    session: DuckDBWarehouse, rows: int, now: int, shift: float, bound: float
) -> None:
    rng = np.random.default_rng(6)
    before = {f"f{i}": rng.normal(0, 1, rows) for i in range(50)}
    moved = {f"f{i}": rng.normal(shift, 1, now) for i in range(50)}
    _, found = drift(session, before, moved)
    assert sum(bool(alarms({name: one}, bound)) for name, one in found.items()) <= 1


def test_a_few_entities_are_no_evidence(session: DuckDBWarehouse) -> None:
    """However many rows they have: three entities may differ from three others; of one nothing can be said."""
    rng = np.random.default_rng(7)
    before = {"entity": np.repeat([1, 2, 3], 5_000), "x": np.repeat(rng.normal(0, 1, 3), 5_000)}
    now = {"entity": np.repeat([1, 2, 3], 5_000), "x": np.repeat(rng.normal(0, 1, 3), 5_000)}
    _, found = drift(session, before, now, ["entity"])
    assert (found["x"].psi or 0) > 1
    assert not alarms(found, 0.2)
    one = {"entity": np.zeros(1_000), "x": rng.normal(0, 1, 1_000)}
    _, found = drift(session, one, one, ["entity"])
    assert found["x"].noise is None
