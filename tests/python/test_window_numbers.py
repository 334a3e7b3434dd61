"""Sums, averages and deviations where numbers are large: hand-computed, to the bit, in every plan."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pytest
from generate import load
from generate_windows import LIFETIME, Declaration, Span, WindowCase
from support.runs import number_of, sampled
from support.window_sql import HOUR, NOON, ONE_HOUR, PLANS, of_one_view, renderer_of, small, summed, training_set_of

pytestmark = pytest.mark.rest

TWO_HOURS = Span("2 hours", "2h", 2 * HOUR)
THREE_HOURS = Span("3 hours", "3h", 3 * HOUR)
SPREAD = (Declaration("sd", "stddev", "value", (TWO_HOURS, THREE_HOURS, LIFETIME), True),)
TINY = 2.0**-10
GREAT = Decimal("9e35")
"""Two of these do not fit a decimal(38,2), nor the 128 bits of its whole number."""
NINES = Decimal("0." + 37 * "9")


def found(case: WindowCase, plan: str, *more: str) -> dict[str, list[Any]]:
    """Each feature at each row of the spine, in that order; `more` are statements that add events."""
    with duckdb.connect(config={"threads": 2}) as connection:
        load(connection, case)
        for statement in more:
            connection.execute(statement)
        query = training_set_of(case, renderer_of(case), plan, provenance=False)
        rows = connection.execute(query).fetchall()
        names = [column for column, *_ in connection.description or ()]
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def hourly(declared: Sequence[Declaration], values: Sequence[Any], value_type: str, last: int = 0) -> WindowCase:
    """One event every hour, and one row of the spine, or only the `last` of these.

    Values are bound as text: DuckDB reads the largest numbers of Python's lists as floats.
    """
    texts = [f"{value:f}" if isinstance(value, Decimal) else value if value is None else str(value) for value in values]
    return small(declared, texts, value_type, [NOON + index * HOUR for index in range(len(values))][-last:])


# Deviations ---------------------------------------------------------------------------------------------------

HALF = math.sqrt(0.5)
"""The deviation of two values that are 1 apart; that of three such values in a row is 1."""


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("value_type", "values", "step"),
    sampled([
        ("double", [1e9, 1e9 + TINY, 1e9 + 2 * TINY], TINY),
        # A counter that has come far from its first values.
        ("double", [0.0, 1e6, 1e12, 1e12 + TINY, 1e12 + 2 * TINY], TINY),
        ("double", [-1e12, -1e12 + TINY, -1e12 + 2 * TINY], TINY),
        # On both sides of the end of a class of floats, at 2^20, 2^60 and -2^60. Not every mean is a double.
        ("double", [2.0**20 - 32 - 2.0**-32, 2.0**20, 2.0**20 + 32 + 2.0**-32], 32 + 2.0**-32),
        ("double", [2.0**60 - 2.0**45 - 256, 2.0**60, 2.0**60 + 2.0**45 + 256], 2.0**45 + 256),
        ("double", [-(2.0**60) + 2.0**45 + 256, -(2.0**60), -(2.0**60) - 2.0**45 - 256], 2.0**45 + 256),
        ("double", [2.0**60 - 256, 2.0**60, 2.0**60 + 256], 256.0),
        ("double", [1e300, -1e300, 3 * 2.0**1000, 2.0**1001, 2.0**1000], 2.0**1000),
        ("double", [5e-324, 1.0, 2 * 2.0**-1070, 3 * 2.0**-1070, 4 * 2.0**-1070], 2.0**-1070),
        ("double", [0.0, 2.0**-1000, 2.0**-999], 2.0**-1000),  # zeros are of the class of 1
        ("float", [16777214.0, 16777215.0, 16777216.0], 1.0),
        ("bigint", [-(2**63), 2**63 - 1, 2**62, 2**62 + 1, 2**62 + 2], 1.0),
        ("ubigint", [0, 2**64 - 3, 2**64 - 2, 2**64 - 1], 1.0),
        ("hugeint", [-(2**127), 2**92, 2**92 + 1, 2**92 + 2], 1.0),
        ("hugeint", [2**127 - 1, -(2**93), -(2**93) + 1, -(2**93) + 2], 1.0),
        ("hugeint", [2**93 - 2**41, 2**93, 2**93 + 2**41], 2.0**41),
        ("uhugeint", [2**128 - 1, 2**93 - 3, 2**93 - 2, 2**93 - 1], 1.0),
        ("decimal(18,2)", [Decimal(f"9999999999999999.9{digit}") for digit in (7, 8, 9)], 0.01),
        ("decimal(38,2)", [GREAT, *(Decimal(f"9{24 * '0'}.0{digit}") for digit in (1, 2, 3))], 0.01),
        ("decimal(38,38)", [NINES, *(Decimal(f"-{index}e-38") for index in range(3))], 1e-38),
    ], 5),
)  # fmt: skip
def test_deviations_of_values_that_are_equally_far_apart(
    plan: str, value_type: str, values: list[Any], step: float
) -> None:
    case = hourly(SPREAD, values, value_type)
    of_two, of_three = (found(case, plan)[name] for name in ("sd_2h", "sd_3h"))
    assert of_three[-1] == step
    assert of_two[-2] == of_two[-1] == pytest.approx(HALF * step, rel=4e-16, abs=0)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("step", [0.0, 1e9, -3e-5])
def test_deviations_of_many_values_with_a_large_mean(plan: str, step: float) -> None:
    """Values near 1e9 that differ by 1e-3, and such that drift away from there."""
    source = random.Random(7)
    values = [1e9 + step * index + source.gauss(0, 1e-3) for index in range(150)]
    results = found(hourly(SPREAD, values, "double"), plan)
    for index in range(2, len(values)):
        for name, first in (("sd_3h", index - 2), ("sd_lifetime", 0)):
            wanted = statistics.stdev(map(Fraction, values[first : index + 1]))
            assert results[name][index] == pytest.approx(float(wanted), rel=2e-15, abs=0)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("value_type", sampled(["hugeint", "uhugeint", "decimal(38,0)"], 1))
def test_deviations_of_numbers_of_more_than_93_bits(plan: str, value_type: str) -> None:
    """They are cut to 53 bits or more: an error of 2^-53 of the greatest value."""
    values = [2**93 - 1, 2**94 + 12345, 2**124 + 2**80 + 1, 2**126 - 2**60 - 1]
    wanted = statistics.stdev(map(Fraction, values[1:]))
    assert found(hourly(SPREAD, values, value_type), plan)["sd_3h"][-1] == pytest.approx(float(wanted), rel=1e-15)
    tight = [2**126 + index * 2**80 + index for index in range(3)]
    deviation = found(hourly(SPREAD, tight, value_type), plan)["sd_3h"][-1]
    assert abs(deviation - (2**80 + 1)) <= 2.0**-53 * max(tight)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("value_type", "value"),
    sampled([
        ("double", 0.1), ("double", 1e9 / 3), ("double", 1.7e308), ("double", 5e-324), ("float", 0.10000000149011612),
        ("bigint", 2**63 - 1), ("decimal(38,2)", GREAT), ("hugeint", 2**127 - 1),
    ], 3),
)  # fmt: skip
def test_equal_values_do_not_deviate_and_one_alone_has_no_deviation(plan: str, value_type: str, value: Any) -> None:
    case = hourly(SPREAD, [value, None, value, value, value], value_type)
    assert found(case, plan)["sd_lifetime"] == [None, None, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("plan", PLANS)
def test_a_deviation_with_nan_or_infinity_is_nan_until_these_have_left(plan: str) -> None:
    case = hourly(SPREAD, [math.nan, 1e9, 1e9 + 1, math.inf, 3.0, 4.0], "double")
    values = found(case, plan)["sd_2h"]
    assert [value is not None and math.isnan(value) for value in values] == [True, True, False, True, True, False]
    assert values[2] == values[5] == HALF


# Sums near the limit of their type ----------------------------------------------------------------------------

LIMITS = [
    # The type, the values, and the sums of the last one and of all. What is added up on the way never fits.
    ("decimal(38,2)", [GREAT, GREAT, -GREAT, -GREAT, Decimal("0.07")], Decimal("0.07"), Decimal("0.07")),
    ("decimal(38,2)", [-GREAT, -GREAT, GREAT, Decimal("-0.05")], Decimal("-0.05"), Decimal(f"-9{35 * '0'}.05")),
    ("decimal(38,0)", [Decimal(38 * "9"), Decimal(1), Decimal(-3)], Decimal(-3), Decimal(37 * "9" + "7")),
    (
        "decimal(38,38)",
        [NINES, NINES, Decimal(f"-{NINES}"), Decimal("-1e-38")],
        Decimal("-1e-38"),
        Decimal("0." + 36 * "9" + "89"),
    ),
    ("hugeint", [2**126, 2**126, -(2**126), -(2**126), -5, 7], 7, 2),
    ("hugeint", [-(2**127), -(2**127), 2**127 - 1, 2**127 - 1, 12], 12, 10),
    ("uhugeint", [3, 0, 2**63 - 4], 2**63 - 4, 2**63 - 1),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("value_type", "values", "of_last", "of_all"), sampled(LIMITS, 2))
def test_a_sum_that_fits_is_answered_whatever_is_added_on_the_way(
    plan: str, value_type: str, values: list[Any], of_last: Any, of_all: Any
) -> None:
    # Only at the last event: before it the sum of all does not fit.
    case = hourly(summed(ONE_HOUR, LIFETIME), values, value_type, last=1)
    [sum_1h], [sum_lifetime], [avg_1h], [avg_lifetime] = (
        found(case, plan)[name] for name in ("sum_1h", "sum_lifetime", "avg_1h", "avg_lifetime")
    )
    assert (sum_1h, sum_lifetime) == (of_last, of_all)
    assert (avg_1h, avg_lifetime) == (float(of_last), float(of_all) / len(values))


@pytest.mark.parametrize("plan", PLANS)
def test_what_has_left_the_window_does_not_overflow(plan: str) -> None:
    """Each window holds one value that fits, and a sum that runs from the first to the last would not."""
    for value_type, value in (
        ("decimal(38,2)", GREAT),
        ("decimal(38,2)", -GREAT),
        ("decimal(28,0)", Decimal(28 * "9")),
    ):
        case = hourly(summed(ONE_HOUR), 8 * [value], value_type)
        results = found(case, plan)
        assert results["sum_1h"] == 8 * [value]
        assert results["avg_1h"] == 8 * [float(value)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("value_type", "values"),
    sampled(
        [
            ("decimal(38,2)", [GREAT, GREAT]),
            ("decimal(38,2)", [-GREAT, -GREAT]),
            ("decimal(38,0)", [Decimal(38 * "9"), Decimal(1)]),
            ("hugeint", [2**127 - 1, 2**127 - 1]),
            ("hugeint", [2**62, 2**62]),
            ("uhugeint", [2**128 - 1, 2**128 - 1]),
        ],
        2,
    ),
)
def test_a_sum_that_does_not_fit_is_an_error_and_its_average_is_not(
    plan: str, value_type: str, values: list[Any]
) -> None:
    total, average = ([each] for each in summed(LIFETIME))
    [mean] = found(hourly(average, values, value_type, last=1), plan)["avg_lifetime"]
    assert mean == pytest.approx(float(sum(map(Fraction, values)) / 2), rel=3e-16)
    with pytest.raises(duckdb.Error, match=r"(?i)range|overflow|cast|convert"):
        found(hourly(total, values, value_type, last=1), plan)


def test_the_history_of_sums_does_not_overflow_on_the_way() -> None:
    """It adds up what enters and leaves, over all keys."""
    case = hourly(summed(ONE_HOUR), 8 * [GREAT], "decimal(38,2)")
    with duckdb.connect() as connection:
        load(connection, case)
        history = renderer_of(case).call("window_history", view="v")
        rows = connection.execute(f"select sum_1h, avg_1h from ({history})").fetchall()
    assert rows == [(GREAT, 9e35), (None, None)]


# Sums of floats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "values",
    sampled(
        [
            [1e20, 1.5, -1e20],  # a running sum in floats would be 0
            [1e308, 0.1, -1e308, 0.2, 1e-300],
            [math.pi * 10.0**power for power in (-300, -20, -9, 0, 9, 20, 300)],
            [2.0**60, -(2.0**60), 2.0**20, 0.5 - 2.0**20, 2.0**-25],
            [1e9 + index * 1e-3 for index in range(7)],
            [0.1] * 10,
            [5e-324, 1e-320, 2.5],
            [1e300, 3.0, -1e300, -3.0],
            # One class alone exceeds the largest float, and another takes that back.
            [2.0**1023, *16 * [-(2.0**1019)], 2.0**1023, *16 * [-(2.0**1019)]],
            [-8.988e307, -8e307, 9.5e-7, 1e307, 8e307],
            [5e305, 8.988e307, -5.6e306, 8.988e307],
        ],
        3,
    ),
)
def test_a_sum_of_floats_is_the_exact_one_rounded(plan: str, values: list[float]) -> None:
    results = found(hourly(summed(TWO_HOURS, LIFETIME), values, "double"), plan)
    for index in range(len(values)):
        for name, of in (("2h", values[max(0, index - 1) : index + 1]), ("lifetime", values[: index + 1])):
            total = sum(map(Fraction, of))
            assert results[f"sum_{name}"][index] == pytest.approx(float(total), rel=3e-16, abs=0)
            assert results[f"avg_{name}"][index] == pytest.approx(float(total / len(of)), rel=5e-16, abs=0)


@pytest.mark.parametrize("plan", PLANS)
def test_nan_and_infinities_leave_no_trace(plan: str) -> None:
    values = [1.5, math.nan, 2.5, math.inf, 0.1, -math.inf, math.inf, 3.5, 4.5]
    results = found(hourly(summed(TWO_HOURS), values, "double"), plan)
    wanted = [1.5, *2 * [math.nan], *2 * [math.inf], -math.inf, math.nan, math.inf, 8.0]
    assert list(map(repr, results["sum_2h"])) == list(map(repr, wanted))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("value_type", ["double", "float"])
@pytest.mark.parametrize("values", [["0.0", "-0.0"], ["-0.0", "0.0"]])
def test_the_sign_of_zero_is_not_by_chance(plan: str, value_type: str, values: list[str]) -> None:
    """Zeros are equal, so either could be the least, or the first of one instant; windows give them without a sign."""
    functions = [Declaration(each, each, "value", (LIFETIME,), True) for each in ("min", "max", "first", "last")]
    functions.append(Declaration("last_n", "last_n", "value", (LIFETIME,), True, n=2))
    rows = ", ".join(f"('a', timestamp '{NOON}', timestamp '{NOON}', '{value}')" for value in values)
    later = f"insert into s values ('a', timestamp '{NOON}' + interval 1 hour)"
    results = found(hourly(functions, [], value_type), plan, f"insert into v values {rows}", later)
    assert {
        name.removesuffix("_lifetime"): repr(one) for name, (one,) in results.items() if name not in ("k", "t")
    } == {
        **dict.fromkeys(("min", "max", "first", "last"), "0.0"),
        "last_n": "[0.0, 0.0]",
    }


# The same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
def test_rows_that_are_not_in_the_window_change_no_bit(plan: str) -> None:
    """Those rows are larger or smaller than all others, so that values are added up elsewhere in the query."""
    functions = [Declaration(each, each, "value", (THREE_HOURS, LIFETIME), True) for each in ("sum", "avg", "stddev")]
    source = random.Random(3)
    values = [source.choice((-1, 1)) * 2.0 ** source.uniform(-65, 65) for _ in range(100)]
    case = hourly(functions, values, "double")
    known = found(case, plan)
    for others in ([1e300], [1e-300], [1e300, 1e250, 1e-300], [-1e25, 3e11, math.nan]):
        later = [f"insert into v values ('a', '2030-01-01', '2030-01-01', '{value}')" for value in others]
        assert found(case, plan, *later) == known


def in_one_unit(case: WindowCase, plan: str) -> dict[str, list[Any]]:
    """Each feature at each row of the spine, as `found`, by the facts of the table as a build does."""
    with duckdb.connect(config={"threads": 2}) as connection:
        load(connection, case)
        query = of_one_view(case, connection, plan, late=True)
        assert "classes" not in query
        rows = connection.execute(query).fetchall()
        names = [column for column, *_ in connection.description or ()]
    return {
        name: [row[position] for row in rows] for position, name in enumerate(names) if "_2h" in name or "_l" in name
    }


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("value_type", ["double", "float"])
def test_sums_in_one_unit_are_those_in_classes_and_rounded_once(plan: str, value_type: str) -> None:
    """Magnitudes within 2^40 of each other, of one class of floats or of two; sums that cancel out, nulls, zeros."""
    functions = [*summed(TWO_HOURS, LIFETIME), Declaration("count", "count", "value", (TWO_HOURS, LIFETIME), True)]
    for seed in range(number_of(6, 60)):
        source = random.Random(seed)
        low = source.choice((-21, -20, 19, -1, 0, -60, source.uniform(-80, 60)))
        high = low + source.choice((0, 1, 20, 38.5))
        values: list[Any] = []
        for _ in range(80):
            value = source.choice((-1, 1)) * 2.0 ** source.uniform(low, high)
            short = math.ldexp(round(math.frexp(value)[0] * 8), math.frexp(value)[1] - 3)
            values.append(source.choice((value, value, short, -(values or [value])[-1] if values else value)))
        values[5:9] = [0.0, values[3], -values[3], source.choice((0.0, None))] if values[3] else [0.0] * 4
        if value_type == "float":
            values = [None if value is None else float(np.float32(value)) for value in values]
        case = hourly(functions, values, value_type)
        found_in_classes = {name: of for name, of in found(case, plan).items() if name not in ("k", "t")}
        assert in_one_unit(case, plan) == found_in_classes
        for index in range(len(values)):
            for name, first in (("2h", max(0, index - 1)), ("lifetime", 0)):
                known = [Fraction(value) for value in values[first : index + 1] if value is not None]
                assert found_in_classes[f"sum_{name}"][index] == (float(sum(known)) if known else None)


@pytest.mark.parametrize("plan", PLANS)
def test_sums_just_beside_the_middle_of_two_floats(plan: str) -> None:
    """A bit far behind the middle decides."""
    greatest = 2.0**19
    values = [greatest, 2.0**-34 + 2.0**-86, -greatest, -greatest, -(2.0**-34) - 2.0**-86]
    case = hourly(summed(TWO_HOURS), values, "double")
    assert found(case, plan)["sum_2h"][1::3] == [greatest + 2.0**-33, -greatest - 2.0**-33]


def test_whole_numbers_of_128_bits_are_rounded_once() -> None:
    """In the middle of two floats, and just beside it, where the engine's own cast may be rounded twice."""
    source = random.Random(11)
    wholes = []
    for _ in range(20_000):
        bits = source.randrange(54, 126)
        middle = ((source.getrandbits(52) << 1 | 1) << (bits - 53)) + (1 << bits)
        beside = source.choice(
            (0, source.randrange(-3, 4), source.randrange(-1, 2) << source.randrange((bits - 53) // 2 + 1))
        )
        wholes.append(source.choice((1, -1)) * (middle + beside))
    rounded = renderer_of(hourly(summed(LIFETIME), [1.0], "double")).call("_rounded", whole="whole")
    query = f"select {rounded} from (select unnest(?::varchar[])::hugeint as whole) as wholes"
    with duckdb.connect() as connection:
        rows = connection.execute(query, [list(map(str, wholes))]).fetchall()
    assert [one for (one,) in rows] == [float(whole) for whole in wholes]


EVENTS = 60_000
BUILDS = number_of(6, 12)


@pytest.mark.parametrize("plan", PLANS)
def test_builds_with_several_threads_give_the_same_bits(plan: str) -> None:
    """Values of four magnitudes, in windows of thousands of events."""
    functions = ("sum", "avg", "stddev")
    week = Span("7 days", "7d", 168 * HOUR)
    case = small([Declaration(each, each, "value", (week, LIFETIME), True) for each in functions], [], "double", [])
    with duckdb.connect(config={"threads": 4}) as connection:
        load(connection, case)
        connection.execute(f"""
            insert into v
            select 'a', t, t, 1e9 + sin(number) * [1e-3, 1e3, 1e20, 1e-30][1 + number % 4]
            from range({EVENTS}) as numbers(number)
            cross join lateral (select timestamp '2026-03-15 12:00' + interval (number) minute) as times(t)
        """)
        connection.execute(f"insert into s select 'a', e + interval 1 minute from v using sample {EVENTS // 500} rows")
        query = training_set_of(case, renderer_of(case), plan, provenance=False)
        total = f"select sum(hash(t, {', '.join(case.views[0].features)})) from ({query})"
        assert len({connection.execute(total).fetchone() for _ in range(BUILDS)}) == 1


@pytest.mark.parametrize("plan", PLANS)
def test_values_that_come_at_one_instant_are_told_apart_once(plan: str) -> None:
    """Two sorts of equal rows by several threads may differ."""
    case = small([Declaration("values", "count_distinct", "value", (THREE_HOURS, LIFETIME), True)], [], "double", [])
    with duckdb.connect(config={"threads": 8}) as connection:
        load(connection, case)
        connection.execute(f"""
            insert into v
            select 'a', t, t, number % 5
            from range({EVENTS}) as numbers(number)
            cross join lateral (select timestamp '2026-03-15 12:00' + interval (number % 3) minute) as times(t)
        """)
        connection.execute(
            "insert into s select 'a', timestamp '2026-03-15 13:00' + interval (range) hour from range(4)"
        )
        query = training_set_of(case, renderer_of(case), plan, provenance=False)
        for _ in range(3):
            found = connection.execute(f"select values_3h, values_lifetime from ({query}) order by t").fetchall()
            assert found == [(5, 5), (5, 5), (5, 5), (0, 5)]
