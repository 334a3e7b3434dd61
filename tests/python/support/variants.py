"""Broken copies of the macros: a comparison with the oracle must catch each of them, in every plan that it is about.

A variant replaces a macro, where that is small, or text of it; a text that is no longer there is an error, so that no
variant goes stale. A variant
whose name begins with a plan, as in "portable: ties fanned out", is about that plan alone. A list may grow, and never
shrinks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from support.rule_sql import macro_nodes

Replacements = Mapping[str, str | list[tuple[str, str]]]
"""By macro: its other body, or texts and what stands there instead."""

# The rule -----------------------------------------------------------------------------------------------------

JOIN = "default__point_in_time_join"
ASOF, LOOKUP, PORTABLE = "duckdb___joined", "_looked_up", "default___joined"
TIES, SNAPSHOT = "_decided_ties", "_ranked_snapshot"
AT_ONCE, LATER = "{{ at }}", "{{ at }} - 1"
"""`_last_instant`: inclusive and strict, whatever is declared."""
NULL_FOR_ALL: dict[str, str] = {"_only_key": "null::integer"}
CREATED_MAY_BE_NULL = {
    "_history": [("{{ pit_join._version(view) |", "{{ pit_join._version(view)[:1] |")],
}
ROUNDED_DOWN = {"_time_of": [("round_up=true", "round_up=false")]}
OTHER_CONTENT = {"_tie_terms": [("' desc nulls last', 'column'", "' asc nulls first', 'column'")]}
NULL_KEY_MATCHES = [
    (
        "{{ pit_join._asof_equal(view, loop.index0, column, 'known._pit_key_' ~ loop.index) }} and",
        "coalesce({{ column }}::varchar, 'null') = coalesce(known._pit_key_{{ loop.index }}::varchar, 'null') and",
    )
]
NULL_KEY_IS_ONE = {"_judged": [("{% for key in keys %} or matched.{{ key }} is null{% endfor %} then", " then")]}
WHOLE_NEVER = {"_pruned": [("case when undecided._pit_last is null then", "case when true then")]}
RULE: dict[str, Replacements] = {
    "asof: strict where inclusive": {"_last_instant": LATER},
    "asof: inclusive where strict": {"_last_instant": AT_ONCE},
    "portable: strict where inclusive": {"_last_instant": LATER},
    "value as old as the ttl is null": {"_judged": [("_pit_event > {{ pit", "_pit_event >= {{ pit")]},
    "ttl ignored": {"_judged": [("{%- if view.ttl %}", "{%- if false %}")]},
    "ttl in days of the calendar": {
        "_judged": [
            (
                "matched._pit_time - matched._pit_event > {{",
                "epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_time)))"
                " - epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_event))) > {{",
            )
        ]
    },
    "created time ignored": {"_available_at": "_pit_event + {{ view.lag or 0 }}"},
    "asof: null created time seen": CREATED_MAY_BE_NULL,
    "lag ignored": {
        "_available_at": "{{ 'greatest(_pit_event, _pit_created)' if view.created_timestamp else '_pit_event' }}"
    },
    "gap ignored": {"_spine_time": [("if gap_microseconds else", "if false else")]},
    "asof: ties fanned out": {TIES: [("where _pit_rank = 1", "where _pit_rank >= 1")]},
    "portable: ties fanned out": {
        PORTABLE: [
            ("row_number() over (", "rank() over ("),
            (
                " desc,\n                {{ pit_join._tie_order(view, 'content') | indent(16) }},\n"
                "                history._pit_row_id",
                " desc",
            ),
        ]
    },
    "asof: ties left to chance": {
        JOIN: [("{%- set quote =", "{%- do asked.update({'ties': false}) -%}\n{%- set quote =")]
    },
    "asof: ties by other content": OTHER_CONTENT,
    "ties mixed": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(view.columns, 'max(', ') over (partition by ' ~ "
                "pit_join._each(view['keys'].values(), '', '') ~ ', ' ~ "
                "pit_join._identifier(view.event_timestamp) ~ ')') ~ ') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "nulls carried forward": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(view.columns, 'last_value(', ' ignore nulls) over "
                "(partition by ' ~ pit_join._each(view['keys'].values(), '', '') ~ ' order by ' ~ "
                "pit_join._identifier(view.event_timestamp) ~ ')') ~ ') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "order lost": {
        "_beside_the_spine": [("_in_order_of('_pit_spine._pit_row')", "_in_order_of('hash(_pit_spine._pit_row)')")]
    },
    "naive time taken as local": {
        "duckdb___instant": [
            ("return('epoch_us(' ~ column ~ ')')", "return('epoch_us(cast(' ~ column ~ ' as timestamptz))')")
        ]
    },
    "asof: null key matched": {ASOF: NULL_KEY_MATCHES, **NULL_KEY_IS_ONE},
    "portable: null key matched": {
        PORTABLE: [("is not null and {{ view.spine_keys | join(' is not null and ') }} is not null", "is not null")],
        **NULL_KEY_IS_ONE,
    },
    "deleted row seen": {"_judged": [("when matched._pit_deleted then 'NOT_FOUND'", "")]},
    "asof: row before the deleted one seen": {
        "_history": [(") as timed\nwhere", ") as timed\nwhere {{ 'not _pit_deleted and ' if view.deleted }}")]
    },
    "asof: late row not held back": {ASOF: [("if options.late and", "if false and")]},
    "asof: versions known together left to chance": {
        ASOF: [("bits of created */ + _pit_created'", "bits of created */'")]
    },
    "asof: history finer than a microsecond rounded down": ROUNDED_DOWN,
    "spine finer than a microsecond rounded up": {"duckdb___instant": [("if round_up else", "if true else")]},
    "default only where a row was found": {
        "_gathered": [
            (
                "pit_join._defaulted(values[loop.index0], feature.get('default'))",
                "'case when chosen._pit_row_id is not null then ' ~ "
                "pit_join._defaulted(values[loop.index0], feature.get('default')) ~ ' end'",
            )
        ]
    },
    "status of an unknown key": {"_judged": [("else 'NOT_FOUND'", "else 'NOT_YET_KNOWN'")]},
    "portable: inclusive where strict": {"_last_instant": AT_ONCE},
    "portable: null created time seen": CREATED_MAY_BE_NULL,
    "portable: ties by other content": OTHER_CONTENT,
    "portable: history finer than a microsecond rounded down": ROUNDED_DOWN,
    "pruned: keys pruned of which nothing may count at their first instant": WHOLE_NEVER,
    "pruned: rows known only after the first instant left out": {
        "_asked_of_keys": [("max(_pit_time) as _pit_last", "min(_pit_time) as _pit_last")]
    },
    "snapshot: strict where inclusive": {"_last_instant": LATER},
    "snapshot: inclusive where strict": {"_last_instant": AT_ONCE},
    "snapshot: null created time seen": CREATED_MAY_BE_NULL,
    "snapshot: null key has a row": {
        SNAPSHOT: [("{{ view.key_names | join(' is not null and ') }} is not null", "true")]
    },
    "snapshot: ties fanned out": {
        SNAPSHOT: [("row_number() over (\n            partition", "1 + 0 * row_number() over (\n            partition")]
    },
    "snapshot: ties by other content": OTHER_CONTENT,
    "snapshot: older version seen": {SNAPSHOT: [("| join(' desc, ') }} desc)", "| join(', ') }})")]},
    "snapshot: deleted row seen": {SNAPSHOT: [("and not coalesce({{ pit_join._mark(view) }}, false)", "")]},
    "snapshot: history finer than a microsecond rounded down": ROUNDED_DOWN,
    # Static views.
    "asof: static row met at a null time": {
        LOOKUP: [
            ("'case when spine._pit_time is not null then ' ~ column ~ ' end' if loop.first else column", "column")
        ]
    },
    "portable: row met at a null time": {PORTABLE: [("where _pit_time is not null and", "where")]},
    "asof: static null key matched": {
        LOOKUP: [
            ("~ column ~", "~ 'coalesce(' ~ column ~ \"::varchar, 'null')\" ~"),
            ("= known._pit_key_{{ loop.index }}", "= coalesce(known._pit_key_{{ loop.index }}::varchar, 'null')"),
        ],
        **NULL_KEY_IS_ONE,
    },
    "asof: static rows of a key fanned out": {LOOKUP: [(") = 1\n", ") >= 1\n")]},
    "portable: static rows known from 1970 on": {"_always": "0"},
    "snapshot: static rows known from 1970 on": {"_always": "0"},
    "static row has an event time": {JOIN: [("cast(null as ", "cast(to_timestamp(0) as ")]},
    # Atoms as a whole.
    "version without the created time": {"_version": "{{ return(['_pit_event']) }}"},
    "known from the created time alone": {
        "_available_at": "{{ '_pit_created' if view.created_timestamp else '_pit_event' }}"
    },
    "views without keys match nothing": NULL_FOR_ALL,
    "asof: tied rows by the event time alone": {
        "_tie_order": "{{ relation }}.{{ pit_join._identifier(view.event_timestamp) }} desc"
    },
}
ALSO_OF_SNAPSHOTS = (
    "created time ignored",
    "lag ignored",
    "ties mixed",
    "nulls carried forward",
    "naive time taken as local",
    "version without the created time",
    "known from the created time alone",
    "views without keys match nothing",
)

# A helper of the variants above: each column of a list between two texts, named like itself where it is a feature.
EACH = (
    "{% macro _each(names, before, after) -%}{%- set all = [] -%}{%- for name in names -%}"
    "{%- set quoted = pit_join._identifier(name) -%}"
    "{%- do all.append(before ~ quoted ~ after ~ (' as ' ~ quoted if before else '')) -%}"
    "{%- endfor -%}{{ return(all | join(', ')) }}{%- endmacro %}"
)

# Window views -------------------------------------------------------------------------------------------------

WINDOW, VALUED = "duckdb__window_features", "_valued"
EVENTS, VERSIONS = "_window_events", "_superseded_at"
RANGE, RUNNING = "_range_windows", "_running_sums"
DELETED = "coalesce({{ pit_join._mark(view) }}, false)"

WINDOWS: dict[str, Replacements] = {
    "event at T counted": {"_last_instant": AT_ONCE},
    "views without keys match nothing": NULL_FOR_ALL,
    "right taken as left": {WINDOW: [("strict = view.closed == 'left'", "strict = true")]},
    "range: edge closed for open": {
        RANGE: [("asked._pit_at < {{ pit", "asked._pit_at <= {{ pit")],
        "_within": [("'asked._pit_at < '", "'asked._pit_at <= '")],
    },
    "range: edge open for closed": {RANGE: [("_is_known('asked._pit_at', false)", "_is_known('asked._pit_at', true)")]},
    "range: edge of deviations closed for open": {
        "_joined_sums": [("asked._pit_at < spans._pit_end", "asked._pit_at <= spans._pit_end")]
    },
    "range: edge of deviations open for closed": {
        "_joined_sums": [("_is_known('asked._pit_at', false)", "_is_known('asked._pit_at', true)")]
    },
    "stacked: edge closed for open": {RUNNING: [("'_pit_at - ' ~ pit_join", "'_pit_at - 1 - ' ~ pit_join")]},
    "stacked: edge open for closed": {
        RUNNING: [("_is_known('points._pit_at', false)", "_is_known('points._pit_at', true)")]
    },
    "late event seen early": {"_available_at": "_pit_event + {{ view.lag or 0 }}"},
    "correction counted twice": {VERSIONS: [("then lag(_pit_created)", "then null::bigint + lag(_pit_created)")]},
    "superseded within a key only": {
        VERSIONS: [
            (
                "partition by {% for column in view.event_key %}",
                "partition by {{ view.key_names | join(', ') }}, {% for column in view.event_key %}",
            )
        ]
    },
    "nulls in the event key are equal": {
        VERSIONS: [("{{ pit_join._identifier(column) }} is not null{{ ' and '", "true{{ ' and '")]
    },
    "deleted event counted": {EVENTS: [(f"and not {DELETED}", "")]},
    "deleted version supersedes nothing": {
        EVENTS: [
            (
                "as _pit_until\n    from timed",
                f"as _pit_until\n    from timed{{% if view.deleted %}} where not {DELETED}{{% endif %}}",
            )
        ]
    },
    "versions by event time": {VERSIONS: [("pit_join._version(view) | reverse |", "pit_join._version(view) |")]},
    "where ignored": {EVENTS: [("if item.where else value", "if false else value")]},
    "lag shortens the window": {"_leaves": "{{ relation }}._pit_event + {{ window }}"},
    "stacked: running totals poisoned by NaN": {
        RUNNING: [
            (
                "- max({{ name }}) filter (where _pit_slot = {{ loop.index }})",
                # Of the counts in one number, that of all floats is in the lower 31 bits.
                "- ({{ '2147483647 & ' if name.endswith('_c') }}max({{ name }}) "
                "filter (where _pit_slot = {{ loop.index }}))",
            )
        ]
    },
    "stacked: far smaller values swallowed": {"_residues": [("and {{ input }} <> 0", "and false")]},
    "range: far smaller values swallowed": {"_residues": [("and {{ input }} <> 0", "and false")]},
    "what is rounded off is lost": {"_lacking": "0::double"},
    "digits carry nothing": {
        "_squared": [("'{0}digit_1 + ({0}digit_0 >> 47)'", "'{0}digit_1'")],
    },
    "halves carry nothing": {"_of_halves": [("({{ upper }} + ({{ lower }} >> 64))", "({{ upper }})")]},
    "stacked: counts and sums overlap": {"_summed": [("part.p ~ ' >> ' ~ bits", "part.p ~ ' >> ' ~ (bits - 1)")]},
    "gap ignored": {"_spine_time": [("if gap_microseconds else", "if false else")]},
    "pruned: keys pruned of which nothing may count at their first instant": WHOLE_NEVER,
    "an empty window counts null": {
        VALUED: [("if item.function in ('count', 'count_distinct') else", "if item.function == 'count_distinct' else")]
    },
    "a count of 0 is a null": {
        VALUED: [("and {{ item.alias }} is null", "and coalesce({{ item.alias }}::varchar, '0') = '0'")]
    },
}

# Histories of window views ------------------------------------------------------------------------------------

ADDED = "_added_history"
HISTORY: dict[str, Replacements] = {
    "views without keys match nothing": NULL_FOR_ALL,
    "expiry is no change": {ADDED: [("where _pit_end_{{ gone }} is not null", "where false")]},
    "expiry a microsecond late": {
        ADDED: [("pit_join._placed('_pit_end_' ~ gone", "pit_join._placed('1 + _pit_end_' ~ gone")]
    },
    "what comes late is in windows that are over": {
        ADDED: [("case when _pit_available_at < {{ ends }} then {{ ends }} end", "{{ ends }}")]
    },
    "what is not in a window is added to it": {
        ADDED: [("'case when _pit_end_' ~ loop.index ~ ' is not null then ' ~ name ~ ' end'", "name")]
    },
    "a key without events any more is new": {ADDED: [("where _pit_available_at <= {{ span.before }}", "where false")]},
    "windows begin with the batch": {
        ADDED: [
            (
                "do conditions.append('greatest(",
                "do conditions.append('measured._pit_available_at > ' ~ span.before ~ ' and greatest(",
            )
        ]
    },
    "what comes too late for a window does not come": {ADDED: [("'greatest(measured._pit_available_at, '", "'('")]},
    "a change of its own for each event": {ADDED: [("where not _pit_goes_on", "")]},
    "the grid sees changes before they are": {"_on_grid": "({{ at }} - {{ at }} % {{ step }})"},
    "equal rows repeated": {"duckdb__window_history": [("is distinct from lag(", "is not null or null = lag(")]},
}


# All of them --------------------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Replacements]] = {"rule": RULE, "windows": WINDOWS, "history": HISTORY}
PLANS = {"rule": ("asof", "portable"), "windows": ("range", "stacked"), "history": ("history",)}
"""The plans that a variant is about if its name does not begin with one."""
OF_ONE_PLAN = {"rule": (*PLANS["rule"], "pruned", "snapshot"), "windows": (*PLANS["windows"], "pruned"), "history": ()}


def about(kind: str) -> Iterator[tuple[str, str]]:
    """Yield each variant of a kind with each plan that must be seen to be broken."""
    for name in VARIANTS[kind]:
        plan = name.split(":")[0]
        for each in (plan,) if plan in OF_ONE_PLAN[kind] else PLANS[kind]:
            yield name, each
        if kind == "rule" and name in ALSO_OF_SNAPSHOTS:
            yield name, "snapshot"


def label(name: str, plan: str) -> str:
    """A variant in a plan, as the corpus calls it."""
    return name if name.startswith(f"{plan}: ") else f"{plan}: {name}"


def broken(replacements: Replacements) -> dict[str, Any]:
    """The macros with these bodies or texts replaced."""
    nodes = copy.deepcopy(macro_nodes())
    nodes["macro.pit_join._each"] = {"package_name": "pit_join", "name": "_each", "macro_sql": EACH}
    for macro, other in replacements.items():
        node = nodes[f"macro.pit_join.{macro}"]
        if isinstance(other, str):
            head, rest = node["macro_sql"].split("-%}", 1)
            node["macro_sql"] = f"{head}-%}}{other}{{%- endmacro %}}"
            assert rest.strip() != other, f"the variant changes nothing: {macro}"
            continue
        for text, replacement in other:
            assert text in node["macro_sql"], f"the variant is stale: {macro} no longer holds {text!r}"
            node["macro_sql"] = node["macro_sql"].replace(text, replacement)
    return nodes
