"""Compare an output with the reference: one line on what differs, exit status 1 if anything does.

``python compare.py REFERENCE OUTPUT``: both Parquet, with the unique column ``row_id`` of the spine in them. With
``--within 1e-6`` behind it floats may differ by that much. With ``--as-of`` both are histories (key, event_timestamp,
features): compared at every row of the reference, with no row yet the same as a count of 0. Then ``--within 1e-9`` is a
part of the greatest value of the column, because sums of squares cancel.
"""

import sys

import duckdb


def compare(reference: str, output: str, within: str = "") -> tuple[bool, str]:
    """Whether ``output`` has the rows, order and values of ``reference``, and a line that says how not."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")

    def rows(path: str) -> int:
        return connection.execute(f"select count(*) from '{path}'").fetchone()[0]

    def types(path: str) -> dict[str, str]:
        return {row[0]: row[1] for row in connection.execute(f"describe from '{path}'").fetchall()}

    wanted, got = rows(reference), rows(output)
    columns, found = types(reference), types(output)
    if missing := [c for c in columns if c not in found]:
        return False, f"{len(missing)} columns missing, first: {missing[0]}"
    said = []
    if got < wanted:
        said.append(f"lost {wanted - got:,} rows")
    if got > wanted:
        said.append(f"{got - wanted:,} rows too many")
    moved = connection.execute(
        f"select count(*) from (select row_id as this from '{reference}') as a\n"
        f"positional join (select row_id as that from '{output}') as b where this is distinct from that"
    ).fetchone()[0]
    in_order = moved == 0  # a missing row counts as moved
    if not in_order:
        said.append("rows not in the order of the spine")
    # a row number stands for the order; without it rows are matched by row_id
    match = "positional join" if in_order else "join"
    on = "" if in_order else "on a.row_id = b.row_id"
    close = {c: f' and not coalesce(abs(a."{c}" - b."{c}") <= {within}, false)' for c in columns if within}
    checks = ", ".join(
        f'count(*) filter (a."{c}" is distinct from b."{c}"{close.get(c, "") if kind == "DOUBLE" else ""})'
        for c, kind in columns.items()
    )
    both = f"'{reference}' as a {match} '{output}' as b {on}"
    counts = connection.execute(f"select {checks} from {both}").fetchone()
    wrong = {c: n for c, n in zip(columns, counts, strict=True) if n}
    if wrong:
        name, count = max(wrong.items(), key=lambda item: item[1])
        said.append(f"values differ in {len(wrong)} columns, most in {name}: {count:,} rows")
    if not wrong and said:
        said.append("values equal")
    same = not said
    if same:
        said.append(f"equal: {got:,} rows, in order" + (f", floats within {within}" if within else ""))
    if changed := sum(found[c] != kind for c, kind in columns.items()):
        said.append(f"other types in {changed} columns")
    return same, "; ".join(said)


def compare_as_of(reference: str, output: str, within: str = "") -> tuple[bool, str]:
    """Whether the history ``output`` gives the values of ``reference`` as of each of its rows, and a line on it."""
    connection = duckdb.connect()
    columns = [row[0] for row in connection.execute(f"describe from '{reference}'").fetchall()]
    features = [c for c in columns if c not in ("key", "event_timestamp")]
    found = {c: f'coalesce(b."{c}", 0)' if c.startswith("count") else f'b."{c}"' for c in features}
    greatest = {c: f"(select max(abs(\"{c}\")) from '{reference}')" for c in features}
    close = {
        c: f' and not coalesce(abs(a."{c}" - b."{c}") <= {within} * {greatest[c]}, false)' for c in features if within
    }
    differs = " or ".join(f'(a."{c}" is distinct from {found[c]}{close.get(c, "")})' for c in features)
    compared, wrong = connection.execute(
        f"select count(*), count(*) filter (where {differs}) from '{reference}' as a\n"
        f"asof left join '{output}' as b on a.key = b.key and a.event_timestamp >= b.event_timestamp"
    ).fetchone()
    rows = connection.execute(f"select count(*) from '{output}'").fetchone()[0]
    if wrong:
        return False, f"values differ at {wrong:,} of {compared:,} instants; {rows:,} rows"
    near = f", floats within {within} of the greatest" if within else ""
    return True, f"equal as of {compared:,} instants{near}; {rows:,} rows"


if __name__ == "__main__":
    paths, options = sys.argv[1:3], sys.argv[3:]
    as_of = "--as-of" in options
    within = [option for option in options if not option.startswith("--")]
    equal, line = (compare_as_of if as_of else compare)(*paths, *within)
    print(line)
    sys.exit(0 if equal else 1)
