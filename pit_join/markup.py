"""HTML for notebooks: tables, bars and timelines, escaped, without scripts, in the colours of the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from pit_join.texts import escaped, moment_text

__all__ = ["Html", "Lane", "bar", "cell", "details", "histograms", "notebook", "notes", "table", "timeline"]

_MOST_ROWS = 100
_SHADES = (0.75, 0.5, 0.35, 0.25, 0.15, 0.08)
_BAR, _BAR_HEIGHT, _PLOT = 120, 10, 28
_WIDTH, _LANE, _MARGIN = 640, 10, 12


class Html(str):
    """Markup, which is not escaped again."""

    __slots__ = ()


class Lane(NamedTuple):
    """One row of a timeline: an event, and until when something holds of it; times in microseconds.

    A lane that is `marked` stands out; `title` is shown under the pointer.
    """

    start: int
    end: int | None
    title: str
    marked: bool = False


def _html(content: str) -> str:
    return content if isinstance(content, Html) else escape(escaped(content))


def notebook(title: str, *parts: str) -> Html:
    """Return what a notebook shows of an object: a title, and parts below it; of plain text each is a paragraph."""
    shown = (part if isinstance(part, Html) else f"<p>{_html(part)}</p>" for part in parts if part)
    return Html(f"<div><p><strong>{_html(title)}</strong></p>{''.join(shown)}</div>")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Html:
    """Return columns under headings; those whose numbers are in `right` are aligned right.

    Of very many rows the first are shown, and the others are counted.
    """
    sides = ["right" if i in right else "left" for i in range(len(headings))]

    def line(tag: str, texts: Sequence[str]) -> str:
        cells = (
            f'<{tag} style="text-align:{side};padding:.1em .6em">{_html(text)}</{tag}>'
            for side, text in zip(sides, texts, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    head, body = line("th", headings), "".join(line("td", row) for row in rows[:_MOST_ROWS])
    return Html(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{_rest(rows)}")


def _rest(of: Sequence[object]) -> str:
    return f"<p>… {len(of) - _MOST_ROWS:,} more</p>" if len(of) > _MOST_ROWS else ""


def cell(text: str, *, faint: bool = False, title: str = "") -> Html:
    """Return a text as the content of a cell, with a title under the pointer."""
    opacity = ' style="opacity:.55"' if faint else ""
    return Html(f'<span{opacity} title="{_html(title)}">{_html(text)}</span>')


def bar(parts: Mapping[str, int]) -> Html:
    """Return the shares of parts in their sum as one bar, the first the darkest; without a sum it is empty."""
    total, start = sum(parts.values()), 0.0
    drawn = []
    for i, (name, number) in enumerate(parts.items()):
        if number:
            width = _BAR * number / total
            shade = _SHADES[min(i, len(_SHADES) - 1)]
            drawn.append(
                f'<rect x="{start:.1f}" width="{width:.1f}" height="{_BAR_HEIGHT}" fill="currentColor" '
                f'fill-opacity="{shade}"><title>{_html(f"{name}: {number:,} of {total:,}")}</title></rect>'
            )
            start += width
    frame = f'<rect width="{_BAR}" height="{_BAR_HEIGHT}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
    return Html(f'<svg width="{_BAR}" height="{_BAR_HEIGHT}" role="img">{"".join(drawn)}{frame}</svg>')


def histograms(before: Sequence[float], now: Sequence[float]) -> Html:
    """Return the shares of bins as bars: those before as areas, those of now as lines at their height."""
    highest, width = max([*before, *now], default=0.0) or 1.0, _BAR / max(len(before), 1)
    drawn = []
    for i, (old, new) in enumerate(zip(before, now, strict=True)):
        x, height, top = i * width, _PLOT * old / highest, _PLOT * (1 - new / highest)
        title = f"<title>{_html(f'{old:.1%} before, {new:.1%} now')}</title>"
        drawn.append(
            f'<g stroke="currentColor" fill="currentColor">{title}'
            f'<rect x="{x:.1f}" y="{_PLOT - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill-opacity=".25" '
            f'stroke="none"/><line x1="{x:.1f}" x2="{x + width:.1f}" y1="{top:.1f}" y2="{top:.1f}"/></g>'
        )
    return Html(f'<svg width="{_BAR}" height="{_PLOT + 1}" role="img">{"".join(drawn)}</svg>') if drawn else Html("")


def notes(lines: Iterable[str]) -> Html:
    """Return sentences as a list, the first of very many; nothing without any."""
    found = list(lines)
    items = "".join(f"<li>{_html(line)}</li>" for line in found[:_MOST_ROWS])
    return Html(f"<ul>{items}</ul>{_rest(found)}" if items else "")


def details(summary: str, content: Html) -> Html:
    """Return content that is hidden until one clicks on its summary."""
    return Html(f"<details><summary>{_html(summary)}</summary>{content}</details>")


def timeline(lanes: Sequence[Lane], at: int, what: str) -> Html:
    """Return a point for each event, a line from it to its end, and the instant `at` across all.

    `what` is the name of that instant. An end that lies far behind everything else is drawn at the edge. Without lanes
    there is nothing to draw.
    """
    if not lanes:
        return Html("")
    times = [*(lane.start for lane in lanes), at]
    low, high = min(times), max(times)
    ends = [lane.end for lane in lanes if lane.end is not None]
    high = min(max(high, *ends), high + (high - low or 1) // 2 + 1) if ends else high
    span, height = max(high - low, 1), _LANE * len(lanes) + 4

    def x(time: int) -> str:
        return f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * (min(max(time, low), high) - low) / span:.1f}"

    drawn = []
    for i, lane in enumerate(lanes):
        y, shade = 2 + _LANE * i + _LANE / 2, 1 if lane.marked else 0.4
        end = x(lane.start if lane.end is None else lane.end)
        drawn.append(
            f'<g stroke="currentColor" fill="currentColor" opacity="{shade}"><title>{_html(lane.title)}</title>'
            f'<line x1="{x(lane.start)}" x2="{end}" y1="{y}" y2="{y}"/>'
            f'<line x1="{end}" x2="{end}" y1="{y - 3}" y2="{y + 3}"/>'
            f'<circle cx="{x(lane.start)}" cy="{y}" r="{3.5 if lane.marked else 2.5}"/></g>'
        )
    now = x(at)
    side = "start" if float(now) < _WIDTH / 2 else "end"
    drawn.append(
        f'<line x1="{now}" x2="{now}" y1="0" y2="{height}" stroke="currentColor" stroke-dasharray="3 2"/>'
        f'<text x="{now}" y="{height + 11}" font-size="10" fill="currentColor" text-anchor="{side}">'
        f"{_html(f'{what}: {moment_text(at)} UTC')}</text>"
    )
    size = f'width="{_WIDTH}" height="{height + 15}" viewBox="0 0 {_WIDTH} {height + 15}"'
    return Html(f'<svg {size} style="max-width:100%" role="img">{"".join(drawn)}</svg>')
