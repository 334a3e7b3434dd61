"""The scenarios of the benchmark: who runs on what, what is compared with what, and the targets."""

from __future__ import annotations

from dataclasses import dataclass, field

PRODUCT, ASOF, GATHER = "pit-join", "hand-written ASOF", "hand-written gather"
FEAST, FEAST_IMPORTS, FLOOR = "Feast on DuckDB", "Feast, imports only", "floor"
PREFIX, RANGE, ROLLING = "hand-written prefix sums", "range join", "polars rolling"
EXPLAIN, AUDIT, REPLAY, BUILD = "pit-join explain", "pit-join audit", "pit-join audit --replay", "dbt build"
HISTORY, DENSE, POINTS = "pit-join window_history", "hand-written dense grid", "hand-written change points"
PROGRAMS = {  # name in the table: script in peers/
    ASOF: "duckdb_asof",
    GATHER: "duckdb_gather",
    "polars join_asof": "polars_asof",
    "pandas merge_asof": "pandas_asof",
    FEAST: "feast_duckdb",
    FEAST_IMPORTS: "feast_imports",
    FLOOR: "floor",
    PREFIX: "windows_prefix",
    RANGE: "windows_range",
    ROLLING: "windows_polars",
    HISTORY: "history_pit_join",
    DENSE: "history_dense",
    POINTS: "history_points",
}
OURS = (PRODUCT, HISTORY, EXPLAIN, AUDIT, REPLAY)
NOT_COMPARED = (FEAST_IMPORTS, FLOOR, EXPLAIN, AUDIT, REPLAY, BUILD)  # their output, if any, is no training set
TIMEOUT = 3_600  # seconds
RANGE_TIMEOUT = 120  # on a hot key the range join may take hours
MANY_VIEWS = (1, 3, 10, 30)
MANY_SUMS = (7, 14, 28, 56)
WINDOWS = ("1h", "1d", "7d", "30d")
FLOATS = tuple(f"{name}_{window}" for name in ("count", "sum_x", "avg_x") for window in WINDOWS)
SUMS = tuple(f"{name}_{window}" for name in ("count", "sum_v", "avg_v") for window in WINDOWS)


@dataclass(frozen=True)
class Target:
    """A bound on the paired ratio of wall times to the entry with the label ``to``, or to the fastest of several."""

    to: str | tuple[str, ...]
    bound: float
    at_least: bool = False
    without: str = ""  # label of the entry (a start-up) whose time is left out in a second ratio
    per_unit: bool = False  # the ratio is that of the times per event or view, the start-up left out on both sides
    cpu: bool = False  # the ratio is that of the CPU times: of short runs they vary less
    memory: float = 0  # bound on the ratio of the peak memories


@dataclass
class Entry:
    """One line of a table: a competitor on a data set, and what was measured of it."""

    program: str
    data: str
    label: str = ""
    shrink: float = 1.0  # part of the full size, for peers that cannot do all of it in reasonable time
    to: str = ""  # label of the entry that the ratio refers to
    target: Target | None = None
    limit: str = ""  # DuckDB's memory_limit
    features: tuple[str, ...] = ()  # of the window view; none: all of all views
    reference: str = ASOF  # the program whose output is right
    within: str = ""  # floats may differ by that much, because the reference has rounded running sums
    as_of: bool = False  # the outputs are histories: compared as of every row of the reference
    peak: float = 0  # bound on the peak memory, in GB
    wall: float = 0  # bound on the wall time, in seconds
    entity: str = ""  # the key that is explained
    leaks: bool = False  # the audited set has the features of another row
    status: int = 0  # the exit status of a run that went well
    timeout: int = TIMEOUT
    plan: str = ""  # of windows; none: the one that the product chooses
    start_up: str = ""  # label of the entry that has next to no data
    units: float = 0  # millions of events, or views: the time for each is shown
    unit: str = ""
    runs: list[Run] = field(default_factory=list)  # the first is the warm-up
    check: str = ""
    correct: bool = False

    def __post_init__(self) -> None:
        self.label = self.label or self.program

    @property
    def failed(self) -> bool:
        return any(run.error for run in self.runs)

    @property
    def unfinished(self) -> bool:
        return any(run.timed_out for run in self.runs)


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall and CPU, peak memory in bytes, and what it said if it failed."""

    wall: float
    cpu: float
    peak: int
    error: str = ""
    timed_out: bool = False


def cases(memory_limit: str, scale: float) -> dict[str, tuple[str, list[Entry]]]:
    """The title and the entries of each scenario."""
    return {
        "A": (
            "A: one narrow view (1M spine rows, 10M history rows, 5 features)",
            _versus_asof("A", 1.15, feast=Target(PRODUCT, 2.5, at_least=True, without=FEAST_IMPORTS)),
        ),
        "B": ("B: wide (17k spine rows, 10 views of 300k rows and 100 features)", _versus_asof("B", 0.5)),
        "C": ("C: large (1M spine rows, 5 views of 5M rows and 20 features)", _large()),
        "D": ("D: what abilities cost (as A; ratios to the product on the plain data)", _abilities()),
        "P": ("P: small spine (1M rows of a month and a tenth of the keys, 10M history rows, ttl 7 days)", _pruned()),
        "U": ("U: no order (as A and D1, the histories in no order)", _unordered()),
        "F": ("F: few rows (17k spine rows, 10 views of 17k rows and 100 features; and a tenth of A)", _few()),
        "M": (
            f"M: B and C under DuckDB's memory_limit of {memory_limit} (target: they finish)",
            _limited(memory_limit),
        ),
        "W1": ("W1: windows, hot key (500k spine rows, 5M events, 12 features in four windows)", _windows_hot()),
        "W2": ("W2: windows, mild (500k spine rows, 2M events, 12 features in four windows)", _windows_mild()),
        "W3": ("W3: min and max over 7 days (spine and events as W1)", _extremes()),
        "W4": ("W4: history (30-day windows of 20k users on 730 days, from 4M events)", _history()),
        "W5": ("W5: windows over doubles (the data of W1 and W2, sum and average of a double)", _windows_of_floats()),
        "W6": ("W6: last_n, deviations, distinct values (the data of W2, four windows, plan stacked)", _others()),
        "W7": ("W7: many sums in one view (1,500 spine rows, 20,000 events, plan stacked)", _many_sums()),
        "G": ("G: growth (the query of W1 on more and more events)", _growth(scale)),
        "explain": ("explain: one value (data of A, 10M rows; of W1, a key of 1M events)", _explained()),
        "audit": (
            "audit: sets made by hand-written SQL (1M rows, 20 features of 5M rows; 500k rows, the windows of W1)",
            _audited(),
        ),
        "replay": ("replay: six views of 2M orders, one of which leaks; five cuts", _replayed()),
        "V": ("V: more and more views (100k spine rows, 300k rows and 5 features a view)", _more_views()),
    }


def _versus_asof(data: str, bound: float, *, feast: Target | None = None) -> list[Entry]:
    return [
        Entry(ASOF, data),
        Entry(PRODUCT, data, to=ASOF, target=Target(ASOF, bound)),
        Entry("polars join_asof", data, to=ASOF),
        Entry("pandas merge_asof", data, to=ASOF),
        Entry(FEAST, data, to=ASOF, target=feast),
        Entry(FEAST_IMPORTS, data, to=ASOF),
        Entry(FLOOR, data, to=ASOF),
    ]


def _large() -> list[Entry]:
    large = [e for e in _versus_asof("C", 0.8) if e.program not in (FEAST, FEAST_IMPORTS)]
    tenth = f"{ASOF}, a tenth"
    large.append(Entry(ASOF, "C", tenth, shrink=0.1))
    large.append(Entry(FEAST, "C", f"{FEAST}, a tenth", shrink=0.1, to=tenth))
    return large


def _abilities() -> list[Entry]:
    variants = {
        "A": "plain",
        "D1": "created, none late",
        "D2": "ties possible",
        "D3": "25 % late",
        "D4": "5 % tied",
    }
    bounds = {"D1": 1.3, "D2": 1.3, "D3": 2.5, "D4": 2.5}
    plain = f"{PRODUCT}, {variants['A']}"
    return [
        Entry(
            program,
            data,
            f"{program}, {what}",
            to="" if (program, data) == (PRODUCT, "A") else plain,
            target=Target(plain, bounds[data]) if program == PRODUCT and data in bounds else None,
        )
        for program in (PRODUCT, ASOF)
        for data, what in variants.items()
    ]


def _pruned() -> list[Entry]:
    return [Entry(ASOF, "P"), Entry(PRODUCT, "P", to=ASOF, target=Target(ASOF, 0.6, cpu=True))]


def _unordered() -> list[Entry]:
    entries = []
    for data, what, bound in (("U1", "plain", 1.15), ("U2", "created", 1.2)):
        asof = f"{ASOF}, {what}"
        entries.append(Entry(ASOF, data, asof))
        target = Target(asof, bound, cpu=True)
        entries.append(Entry(PRODUCT, data, f"{PRODUCT}, {what}", to=asof, target=target))
    return entries


def _few() -> list[Entry]:
    wide, narrow, tenth = f"{PRODUCT}, wide", f"{ASOF}, a tenth of A", f"{PRODUCT}, a tenth of A"
    return [
        Entry(GATHER, "F"),
        Entry(PRODUCT, "F", wide, to=GATHER, target=Target(GATHER, 1.2, cpu=True)),
        Entry("polars join_asof", "F", to=GATHER),
        Entry(ASOF, "A", narrow, shrink=0.1),
        Entry(PRODUCT, "A", tenth, shrink=0.1, to=narrow, target=Target(narrow, 1.5, cpu=True)),
    ]


def _limited(memory_limit: str) -> list[Entry]:
    return [
        Entry(program, data, f"{program}, {data}", limit=memory_limit)
        for data in ("B", "C")
        for program in (PRODUCT, ASOF)
    ]


def _windowed(program: str, data: str, label: str = "", features: tuple[str, ...] = SUMS, **more: object) -> Entry:
    timeout = RANGE_TIMEOUT if program == RANGE else TIMEOUT
    return Entry(program, data, label, features=features, timeout=timeout, **{"reference": PREFIX, **more})


def _windows_hot() -> list[Entry]:
    return [
        _windowed(PREFIX, "W1"),
        _windowed(PRODUCT, "W1", to=PREFIX, target=Target(PREFIX, 1.2), peak=2),
        _windowed(ROLLING, "W1", to=PREFIX),
        _windowed(RANGE, "W1", to=PREFIX),
    ]


def _windows_mild() -> list[Entry]:
    return [
        _windowed(PREFIX, "W2"),
        _windowed(PRODUCT, "W2", to=PREFIX, target=Target((PREFIX, RANGE), 1.2)),
        _windowed(RANGE, "W2", to=PREFIX),
        _windowed(ROLLING, "W2", to=PREFIX),
    ]


def _extremes() -> list[Entry]:
    extremes, sums = ("min_v_7d", "max_v_7d"), f"{PRODUCT}, count and sum"
    rolling, ours = f"{ROLLING}, min and max", f"{PRODUCT}, min and max"
    return [
        _windowed(PRODUCT, "W1", sums, ("count_7d", "sum_v_7d")),
        _windowed(ROLLING, "W1", rolling, extremes, reference=ROLLING, to=sums),
        _windowed(PRODUCT, "W1", ours, extremes, reference=ROLLING, to=sums, target=Target(rolling, 1.2)),
    ]


def _windows_of_floats() -> list[Entry]:
    entries = []
    for data, what, others in (("W2", "mild", (PREFIX, RANGE)), ("W1", "hot key", (PREFIX,))):
        names = {program: f"{program}, {what}" for program in (*others, PRODUCT)}
        for program, label in names.items():
            to = "" if program == PREFIX else names[PREFIX]
            entry = _windowed(program, data, label, FLOATS, to=to, within="1e-6")
            if program == PRODUCT:
                entry.target = Target(tuple(names[other] for other in others), 1.5)
            entries.append(entry)
    return entries


def _others() -> list[Entry]:
    """Functions beside the count over the same windows; an entry's reference is the plan `range`."""
    count = f"{PRODUCT}, count"
    entries = [_windowed(PRODUCT, "W2", count, _of("count"), plan="stacked")]
    for name, bound in (("last_v", 6), ("stddev_v", 3), ("stddev_x", 3), ("distinct_v", 3)):
        target = Target(count, bound)
        entries.append(
            _windowed(
                PRODUCT,
                "W2",
                f"{PRODUCT}, {name}",
                _of(name),
                plan="stacked",
                reference=PRODUCT,
                to=count,
                target=target,
            )
        )
    return entries


def _many_sums() -> list[Entry]:
    """Sums of a double beside the same number of sums of an integer; an entry's reference is the plan `range`."""
    entries = []
    for sums in MANY_SUMS:
        names = {
            column: f"{PRODUCT}, {sums} sums of {what}" for column, what in (("v", "an integer"), ("x", "a double"))
        }
        for column, label in names.items():
            features = tuple(f"sum_{column}_{hours + 1}h" for hours in range(sums))
            entry = _windowed(PRODUCT, "W7", label, features, plan="stacked", reference=PRODUCT)
            if column == "x":
                entry.to, entry.target = names["v"], Target(names["v"], 2)
            entries.append(entry)
    return entries


def _of(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{window}" for window in WINDOWS)


def _history() -> list[Entry]:
    """One function at a time; an entry's reference is the dense grid of the same function."""
    entries = []
    for name in ("count", "sum_x", "stddev_x", "min_v", "max_v", "first_v", "last_v"):
        dense = f"{DENSE}, {name}"
        known = {"features": (f"{name}_30d",), "reference": DENSE, "as_of": True}
        known["within"] = "1e-9" if name.endswith("_x") else ""
        target = Target(dense, 0.65 if name == "count" else 1, cpu=name != "count")
        entries.append(Entry(DENSE, "W4", dense, **known))
        entries.append(Entry(HISTORY, "W4", f"{HISTORY}, {name}", to=dense, target=target, **known))
    entries.append(Entry(POINTS, "W4", reference=DENSE, as_of=True, features=("count_30d",), to=f"{DENSE}, count"))
    return entries


def _growth(scale: float) -> list[Entry]:
    start_up, unit = f"{PRODUCT}, 1k events", "M events"
    entries = [_windowed(PRODUCT, "W1", start_up, shrink=0.0002)]
    labels = {millions: f"{PRODUCT}, {millions}M events" for millions in (1, 3, 10)}
    for millions, label in labels.items():
        size = {"shrink": millions / 5, "units": millions * scale}
        entry = _windowed(PRODUCT, "W1", label, start_up=start_up, unit=unit, **size)
        if millions > 1:
            entry.to = labels[1]
        if millions == 10:
            entry.target = Target(labels[1], 1.5, per_unit=True)
        entries.append(entry)
    return entries


def _explained() -> list[Entry]:
    """Explanations of one value each, of a point-in-time view and of a window."""
    return [
        Entry(EXPLAIN, "A", f"{EXPLAIN}, 10M rows", features=("view_1:view_1_f2",), entity="customer_id=5", wall=1),
        Entry(EXPLAIN, "W1", f"{EXPLAIN}, 1M events", features=("events:count_7d",), entity="key=1", wall=1.5),
    ]


def _audited() -> list[Entry]:
    """Audits of sets with and without leaks, beside the builds of the same features."""
    entries = []
    for data, known in (("T", {}), ("W1", {"features": SUMS, "reference": PREFIX})):
        build = f"{PRODUCT}, data of {data}"
        target = Target(build, 2.5, memory=1.5)
        entries += [
            Entry(PRODUCT, data, build, **known),
            Entry(AUDIT, data, f"{AUDIT}, {data}, honest", to=build, target=target, **known),
            Entry(AUDIT, data, f"{AUDIT}, {data}, all leak", to=build, target=target, leaks=True, status=1, **known),
        ]
    return entries


def _replayed() -> list[Entry]:
    """A replay of views, one of which leaks, beside a build of them: five cuts and two builds, and a fifth of that."""
    return [Entry(BUILD, "R"), Entry(REPLAY, "R", to=BUILD, target=Target(BUILD, 1.2 * (5 + 2)), status=1)]


def _more_views() -> list[Entry]:
    start_up = f"{PRODUCT}, 1 tiny view"
    entries = [Entry(PRODUCT, "V1", start_up, shrink=0.001)]
    for views in MANY_VIEWS:
        label, asof = f"{PRODUCT}, {_views(views)}", f"{ASOF}, {_views(views)}"
        entries.append(Entry(ASOF, f"V{views}", asof))
        entry = Entry(PRODUCT, f"V{views}", label, to=asof, start_up=start_up, units=views, unit="view")
        if views == MANY_VIEWS[-1]:
            entry.target = Target(f"{PRODUCT}, {_views(MANY_VIEWS[0])}", 1.2, per_unit=True)
        entries.append(entry)
    return entries


def _views(number: int) -> str:
    return f"{number} view" if number == 1 else f"{number} views"
