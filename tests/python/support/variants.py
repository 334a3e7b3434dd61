"""Broken copies of the macros: a comparison with the oracle must catch each of them, in every plan that it is about.

A variant replaces text of a macro; a text that is no longer there is an error, so that no variant goes stale. A variant
whose name begins with a plan, as in "portable: ties fanned out", is about that plan alone. A list may grow, and never
shrinks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from support.rule_sql import macro_nodes

Replacements = Mapping[str, list[tuple[str, str]]]
"""By macro: texts, and what stands there instead."""

# The rule -----------------------------------------------------------------------------------------------------

JOIN = "duckdb__point_in_time_join"
PORTABLE = "default__point_in_time_join"
SNAPSHOT, SNAPSHOT_KNOWN = "_ranked_snapshot", "_is_known"
TIES_OF_SNAPSHOT = "row_number() over (\n            partition"
RULE: dict[str, Replacements] = {
    "asof: strict where inclusive": {JOIN: [("{{ '>=' if inclusive else '>' }}", ">")]},
    "asof: inclusive where strict": {JOIN: [("{{ '>=' if inclusive else '>' }}", ">=")]},
    "portable: strict where inclusive": {
        PORTABLE: [("{{ 0 if inclusive else 1 }}", "1"), ("{{ 1 if inclusive else 0 }}", "0")]
    },
    "value as old as the ttl is null": {"_judged": [("_pit_event > {{ ttl }}", "_pit_event >= {{ ttl }}")]},
    "ttl ignored": {"_judged": [("{%- if ttl %}", "{%- if false %}")]},
    "ttl in days of the calendar": {
        "_judged": [
            (
                "matched._pit_time - matched._pit_event > {{ ttl }}",
                "epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_time)))"
                " - epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_event))) > {{ ttl }}",
            )
        ]
    },
    "created time ignored": {"_available_at": [("if created_timestamp else known", "if false else known")]},
    "asof: null created time seen": {
        JOIN: [("in version %}{{ column }} is not null", "in version[:1] %}{{ column }} is not null")]
    },
    "lag ignored": {"_available_at": [("' ~ lag if lag else", "' ~ lag if false else")]},
    "gap ignored": {"default__spine_rows": [("{%- if gap_microseconds -%}", "{%- if false -%}")]},
    "asof: ties fanned out": {JOIN: [(") = 1\n),\n\nmatched", ") >= 1\n),\n\nmatched")]},
    "portable: ties fanned out": {PORTABLE: [("row_number() over (", "rank() over (")]},
    "asof: ties left to chance": {JOIN: [("{%- set quote =", "{%- set ties = false -%}\n{%- set quote =")]},
    "asof: ties by other content": {
        JOIN: [("desc nulls last,\n            {%- endfor %}", "asc nulls first,\n            {%- endfor %}")]
    },
    "ties mixed": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(columns, 'max(', ') over (partition by ' ~ "
                "pit_join._each(keys, '', '') ~ ', ' ~ pit_join._identifier(event_timestamp) ~ ')') ~ "
                "') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "nulls carried forward": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(columns, 'last_value(', ' ignore nulls) over "
                "(partition by ' ~ pit_join._each(keys, '', '') ~ ' order by ' ~ "
                "pit_join._identifier(event_timestamp) ~ ')') ~ ') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "order lost": {"_training_set": [("order by _pit_spine._pit_row", "order by hash(_pit_spine._pit_row)")]},
    "naive time taken as local": {
        "duckdb___instant": [
            ("return('epoch_us(' ~ column ~ ')')", "return('epoch_us(cast(' ~ column ~ ' as timestamptz))')")
        ]
    },
    "asof: null key matched": {
        JOIN: [
            (
                "spine.{{ quote(spine_column) }} = known._pit_key_{{ loop.index }} and",
                "coalesce(spine.{{ quote(spine_column) }}::varchar, 'null') = "
                "coalesce(known._pit_key_{{ loop.index }}::varchar, 'null') and",
            )
        ],
        "_judged": [("{% for key in key_names %} or matched.{{ key }} is null{% endfor %} then", " then")],
    },
    "portable: null key matched": {
        PORTABLE: [("        and {{ quote(spine_column) }} is not null\n", "")],
        "_judged": [("{% for key in key_names %} or matched.{{ key }} is null{% endfor %} then", " then")],
    },
    "deleted row seen": {"_judged": [("when matched._pit_deleted then 'NOT_FOUND'", "")]},
    "asof: row before the deleted one seen": {
        JOIN: [
            (
                "    where {% for column in version %}",
                "    where {{ 'not _pit_deleted and ' if deleted }}{% for column in version %}",
            )
        ]
    },
    "asof: late row not held back": {JOIN: [("{%- set quote =", "{%- set late = false -%}\n{%- set quote =")]},
    "asof: history finer than a microsecond rounded down": {JOIN: [("round_up=true", "round_up=false")]},
    "spine finer than a microsecond rounded up": {"duckdb___instant": [("if round_up else", "if true else")]},
    "default only where a row was found": {
        "_gathered": [
            (
                "'coalesce(' ~ value ~ ', ' ~ feature.default ~ ')'",
                "'case when chosen._pit_row_id is not null then coalesce(' ~ value ~ ', ' ~ feature.default ~ ') end'",
            )
        ]
    },
    "status of an unknown key": {"_judged": [("else 'NOT_FOUND'", "else 'NOT_YET_KNOWN'")]},
    "portable: inclusive where strict": {
        PORTABLE: [("{{ 0 if inclusive else 1 }}", "0"), ("{{ 1 if inclusive else 0 }}", "1")]
    },
    "portable: null created time seen": {PORTABLE: [("        and _pit_created is not null\n", "")]},
    "portable: ties by other content": {PORTABLE: [("{{ quote(column) }} nulls first", "{{ quote(column) }} desc")]},
    "portable: history finer than a microsecond rounded down": {PORTABLE: [("round_up=true", "round_up=false")]},
    "snapshot: strict where inclusive": {SNAPSHOT_KNOWN: [("{{ '<=' if view.inclusive else '<' }}", "<")]},
    "snapshot: inclusive where strict": {SNAPSHOT_KNOWN: [("{{ '<=' if view.inclusive else '<' }}", "<=")]},
    "snapshot: null created time seen": {SNAPSHOT_KNOWN: [("in version -%}", "in version[:1] -%}")]},
    "snapshot: null key has a row": {SNAPSHOT_KNOWN: [("{{ pit_join._identifier(key) }} is not null and", "")]},
    "snapshot: ties fanned out": {SNAPSHOT: [(TIES_OF_SNAPSHOT, "1 + 0 * " + TIES_OF_SNAPSHOT)]},
    "snapshot: ties by other content": {
        SNAPSHOT: [("source.{{ quote(column) }} desc nulls last", "source.{{ quote(column) }} nulls first")]
    },
    "snapshot: older version seen": {SNAPSHOT: [("version | join(' desc, ') }} desc)", "version | join(', ') }})")]},
    "snapshot: deleted row seen": {SNAPSHOT: [("and not coalesce({{ quote(view.deleted) }}, false)", "")]},
    "snapshot: history finer than a microsecond rounded down": {SNAPSHOT: [("round_up=true", "round_up=false")]},
}
ALSO_OF_SNAPSHOTS = (
    "created time ignored",
    "lag ignored",
    "ties mixed",
    "nulls carried forward",
    "naive time taken as local",
)

# A helper of the variants above: each column of a list between two texts, named like itself where it is a feature.
EACH = (
    "{% macro _each(names, before, after) -%}{%- set all = [] -%}{%- for name in names -%}"
    "{%- set quoted = pit_join._identifier(name) -%}"
    "{%- do all.append(before ~ quoted ~ after ~ (' as ' ~ quoted if before else '')) -%}"
    "{%- endfor -%}{{ return(all | join(', ')) }}{%- endmacro %}"
)

# Window views -------------------------------------------------------------------------------------------------

WINDOW, EVENTS = "default__window_features", "_window_events"
RANGE, RUNNING = "_range_windows", "_running_sums"
LEFT = "{{ ' - 1' if closed == 'left' }}"
DELETED = "coalesce({{ quote(deleted) }}, false)"

WINDOWS: dict[str, Replacements] = {
    "event at T counted": {
        WINDOW: [
            (f"_pit_time{LEFT} as _pit_at", "_pit_time as _pit_at"),
            (f"{LEFT} = asked._pit_at", " = asked._pit_at"),
        ]
    },
    "right taken as left": {
        WINDOW: [
            (f"_pit_time{LEFT} as _pit_at", "_pit_time - 1 as _pit_at"),
            (f"{LEFT} = asked._pit_at", " - 1 = asked._pit_at"),
        ]
    },
    "range: edge closed for open": {
        RANGE: [("asked._pit_at < events._pit_event", "asked._pit_at <= events._pit_event")]
    },
    "range: edge open for closed": {
        RANGE: [("asked._pit_at >= events._pit_known", "asked._pit_at > events._pit_known")]
    },
    "stacked: edge closed for open": {RUNNING: [("'_pit_at - ' ~ window", "'_pit_at - 1 - ' ~ window")]},
    "stacked: edge open for closed": {RUNNING: [("points._pit_at >= running", "points._pit_at > running")]},
    "late event seen early": {"_available_at": [("if created_timestamp else known", "if false else known")]},
    "correction counted twice": {EVENTS: [("then lead(_pit_created)", "then null::bigint + lead(_pit_created)")]},
    "superseded within a key only": {
        EVENTS: [
            (
                "partition by {% for column in event_key %}",
                "partition by {% for key in keys %}{{ quote(key) }}, {% endfor %}{% for column in event_key %}",
            )
        ]
    },
    "nulls in the event key are equal": {EVENTS: [("{{ quote(column) }} is not null{{ ' and '", "true{{ ' and '")]},
    "deleted event counted": {EVENTS: [(f"and not {DELETED}", "")]},
    "deleted version supersedes nothing": {
        EVENTS: [
            (
                "where _pit_event is not null",
                f"where {{% if deleted %}}not {DELETED} and {{% endif %}}_pit_event is not null",
            )
        ]
    },
    "versions by event time": {
        EVENTS: [("_pit_created,\n                    _pit_event\n", "_pit_event,\n                    _pit_created\n")]
    },
    "where ignored": {EVENTS: [("if item.where else value", "if false else value")]},
    "lag shortens the window": {
        RANGE: [("(lag + item.window)", "item.window"), ("{{ lag + longest }}", "{{ longest }}")],
        "_window_end": [("(lag + (window or 0))", "(window or 0)")],
    },
    "stacked: running totals poisoned by NaN": {
        RUNNING: [
            (
                "- max({{ name }}) filter (where _pit_slot = {{ loop.index }})",
                "- {{ '0 * ' if name.endswith('_odd') }}max({{ name }}) filter (where _pit_slot = {{ loop.index }})",
            )
        ]
    },
    "stacked: far smaller values swallowed": {"_residues": [("and {{ input }} <> 0", "and false")]},
    "stacked: counts and sums overlap": {"_summed": [("' >> 34)'", "' >> 33)'")]},
    "gap ignored": {"default__spine_rows": [("{%- if gap_microseconds -%}", "{%- if false -%}")]},
    "an empty window counts null": {
        WINDOW: [("if item.function in ('count', 'count_distinct') else", "if item.function == 'count_distinct' else")]
    },
    "a count of 0 is a null": {
        WINDOW: [("and {{ item.alias }} is null", "and coalesce({{ item.alias }}::varchar, '0') = '0'")]
    },
}

# Histories of window views ------------------------------------------------------------------------------------

ADDED = "_added_history"
HISTORY: dict[str, Replacements] = {
    "expiry is no change": {ADDED: [("where _pit_end_{{ gone }} is not null", "where false")]},
    "expiry a microsecond late": {
        ADDED: [("pit_join._placed('_pit_end_' ~ gone", "pit_join._placed('1 + _pit_end_' ~ gone")]
    },
    "what comes late is in windows that are over": {
        ADDED: [("case when _pit_known < {{ leaves }} then {{ leaves }} end", "{{ leaves }}")]
    },
    "what is not in a window is added to it": {
        ADDED: [("case when _pit_end_{{ slot }} is not null then {{ name }} end", "{{ name }}")]
    },
    "a key without events any more is new": {ADDED: [("where _pit_known <= {{ before }}", "where false")]},
    "windows begin with the batch": {
        ADDED: [
            (
                "do conditions.append('greatest(",
                "do conditions.append('measured._pit_known > ' ~ before ~ ' and greatest(",
            )
        ]
    },
    "what comes too late for a window does not come": {ADDED: [("'greatest(measured._pit_known, '", "'('")]},
    "a change of its own for each event": {ADDED: [("where not _pit_goes_on", "")]},
    "the grid sees changes before they are": {
        "_on_grid": [("' + (' ~ step ~ ' - ' ~ at ~ ' % ' ~ step ~ ') % ' ~ step", "' - ' ~ at ~ ' % ' ~ step")]
    },
    "equal rows repeated": {"default__window_history": [("is distinct from lag(", "is not null or null = lag(")]},
}


# All of them --------------------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Replacements]] = {"rule": RULE, "windows": WINDOWS, "history": HISTORY}
PLANS = {"rule": ("asof", "portable"), "windows": ("range", "stacked"), "history": ("history",)}
"""The plans that a variant is about if its name does not begin with one."""
OF_ONE_PLAN = {"rule": (*PLANS["rule"], "snapshot"), "windows": PLANS["windows"], "history": ()}


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


def broken(replacements: dict[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """The macros with these texts replaced."""
    nodes = copy.deepcopy(macro_nodes())
    nodes["macro.pit_join._each"] = {"package_name": "pit_join", "name": "_each", "macro_sql": EACH}
    for macro, pairs in replacements.items():
        node = nodes[f"macro.pit_join.{macro}"]
        for text, other in pairs:
            assert text in node["macro_sql"], f"the variant is stale: {macro} no longer holds {text!r}"
            node["macro_sql"] = node["macro_sql"].replace(text, other)
    return nodes
