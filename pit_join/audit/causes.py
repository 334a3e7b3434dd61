"""The likely causes of the differences of a training set: the rule is asked with other times and other settings.

No answer is computed here: the statements that build training sets run on a sample, with altered times or declarations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.audit.file_values import FileValues, as_flags
from pit_join.audit.findings import EXPLAINED, Cause
from pit_join.audit.moments import (
    DAY,
    NO_MOMENT,
    Guess,
    Moments,
    Times,
    guesses,
    nearest_row,
    numbers_of,
    other_end,
    shifted,
    turns,
    windows,
)
from pit_join.definitions.views import FeatureView
from pit_join.references import Request
from pit_join.times import format_duration
from pit_join.training.gather import in_order, row_numbers
from pit_join.workspace import Histories, Workspace

__all__ = ["LEAST_ROWS", "MOST_ROWS", "RoleTrials", "SampledColumn", "Trial", "causes_of", "lacks_value"]

Flags = np.ndarray[Any, np.dtype[np.bool_]]

MOST_ROWS = 10_000
"""The most differing rows on which causes are tried."""

LEAST_ROWS = 30
"""The fewest rows that tell one cause from another."""

_IN_PART = 0.5
_BEYOND_CHANCE, _DEVIATIONS = 0.5, 4  # the share of what chance leaves to explain, and its standard deviations
_MOST_RIVALS = 2
_GUESSED_ROWS = 200
_MOST_TRIED = 400_000  # rows in one statement
_TRIED, _HISTORY, _VERSIONS = "_pit_tried", "_pit_sampled_history", "_pit_newest_versions"


@dataclass(frozen=True, slots=True)
class Trial:
    """The answers of the rule under one assumption, by feature.

    `parts` are the single assumptions: settings of the view that are replaced, and another time.
    """

    text: str
    leak: bool
    answers: Mapping[str, pa.Array]
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SampledColumn:
    """A column of the file in the rows of a sample.

    `rows` are the numbers of these rows in the file, `differing` those that differ from the rule. `substitute` are
    those of which the rule knows nothing, and that have the constant which may stand for a null.
    """

    feature: str
    values: FileValues
    rows: Any
    differing: Flags
    substitute: Flags

    def at(self, rows: Any) -> SampledColumn:
        """Return some rows of the sample."""
        return SampledColumn(self.feature, self.values, self.rows[rows], self.differing[rows], self.substitute[rows])

    def beyond_chance(self, trial: Trial, hit: Flags) -> bool:
        """Return whether a trial explains more of the differences than its answers for other rows do.

        If nearly all answers are one value, a column with that value equals them whatever its cause.
        """
        answer = trial.answers[self.feature]
        others = np.flatnonzero(~self.differing)
        others = others if len(others) >= LEAST_ROWS else np.arange(len(hit))
        drawn = np.random.default_rng(0).choice(others, len(hit))
        by_chance = self.values.equal(answer.take(row_numbers(drawn)), self.rows)[self.differing]
        tried = len(by_chance)
        chance = min(max(float(by_chance.mean()), 1 / tried), 1 - 1 / tried)
        above = float(hit[self.differing].mean()) - chance
        deviation = (chance * (1 - chance) / tried) ** 0.5
        return above >= _DEVIATIONS * deviation and above >= _BEYOND_CHANCE * (1 - chance)

    def hits(self, trial: Trial) -> Flags:
        """Return the rows in which the file has what a trial says."""
        answer = trial.answers[self.feature]
        equal = self.values.equal(answer, self.rows)
        return equal | (self.substitute & lacks_value(answer))


def causes_of(column: SampledColumn, trials: Sequence[Trial]) -> tuple[Cause, ...]:
    """Return the likely causes of a column's differences: the simplest that explains them, then its rivals.

    A rival explains the same rows but for fewer than `LEAST_ROWS`. What explains all rows comes first. If nothing
    explains nearly all rows, the result is what explains most of them, if these are half.
    """
    tried = int(column.differing.sum())
    if tried < LEAST_ROWS:
        return ()
    found = []
    for trial in trials:
        hit = column.hits(trial)
        cause = Cause(trial.text, int((hit & column.differing).sum()), tried, trial.leak)
        if cause.share >= _IN_PART and cause.explained >= LEAST_ROWS and column.beyond_chance(trial, hit):
            found.append((cause, hit, trial.parts))
    likely = [each for each in found if each[0].share >= EXPLAINED]
    if not likely:
        return tuple(sorted((cause for cause, *_ in found), key=lambda cause: -cause.explained)[:1])
    most = max(int(hit.sum()) for _, hit, _ in likely)
    near = LEAST_ROWS if most < len(column.rows) else 1
    chosen, own, parts = next(each for each in likely if most - int(each[1].sum()) < near)
    rivals = [
        cause
        for cause, hit, others in likely
        if int((hit ^ own).sum()) < LEAST_ROWS and cause is not chosen and not parts < others
    ]
    return (chosen, *sorted(rivals, key=lambda cause: -cause.explained)[:_MOST_RIVALS])


class RoleTrials:
    """The answers of one role for a sample of rows, at other times and by other settings.

    Args:
        workspace: the project.
        histories: the tables of its views.
        request: the role, with the features to try.
        keys: the columns of the sample that are keys, none of them null.
        times: the times T of the sample less the gap, in microseconds UTC.
        columns: the columns of the file whose differences are to be explained.
    """

    def __init__(
        self,
        workspace: Workspace,
        histories: Histories,
        request: Request,
        keys: pa.Table,
        times: Times,
        columns: Sequence[SampledColumn] = (),
    ) -> None:
        self._macros, self._warehouse = workspace.macros, histories.warehouse
        self._view = workspace.registry.view(request.view)
        self._request, self._keys, self._times, self._columns = request, keys, times, columns
        self._what = f"the feature view '{self._view.name}' cannot be audited"
        histories.stage([self._view])
        self._features = [request.as_macro_argument()]
        self._try([times])
        if histories.session is not self._warehouse:
            histories.session.give(_TRIED, self._warehouse.table(f"from {_TRIED}", self._what))
        statement = workspace.view_macros.text(
            "_sampled_history_statement",
            alias=request.alias,
            spine=_TRIED,
            features=self._features,
            history=histories.staged(self._view),
        )
        rows = self._warehouse.here(statement, self._what)
        self._warehouse.execute(f"create or replace temp table {_HISTORY} as from {rows}", self._what)
        if self._view.event_key or _restates(self._view):
            newest = self._macros.text("_newest_versions_statement", view=self._view.name, history=_HISTORY)
            self._warehouse.execute(f"create or replace temp table {_VERSIONS} as {newest}", self._what)

    def trials(self, zone: str | None, gap: int) -> Iterator[Trial]:
        """Yield all trials, the simplest first.

        `zone` is the time zone in which the days of the set begin, `gap` the gap in microseconds.
        """
        yield from self._other_settings()
        for altered, also in self._declared_and_plain():
            found = self._turns(altered)
            moments = [
                *(other_end(self._times, self._view) if self._view.aggregations else ()),
                *shifted(self._times, zone, gap),
                *windows(self._times, {one.window for one in self._view.aggregations if one.window}),
                *turns(found),
                nearest_row(self._times, found),
                *self._best_guess(altered, gap, zone),
            ]
            yield from self._at(_distinct(moments, self._times), altered, also)

    def later(self) -> tuple[Trial, list[Trial]]:
        """Return the answers at T, and those at later times that a column may hold by mistake."""
        day = Moments("equals the value known 1 day later", self._times + DAY, True)
        asked = [Moments("", self._times, False)]  # of the view as it is declared, which comes first
        found: list[Trial] = []
        for altered, also in self._declared_and_plain():
            turned = list(turns(self._turns(altered)))[:2]
            ahead = windows(self._times, {one.window for one in self._view.aggregations if one.window})
            found += self._at([*asked, *turned, day, *ahead], altered, also)
            asked = []
        return found[0], found[1:]

    def _declared_and_plain(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the settings to replace: none, and all that a join by hand may ignore, with words for that."""
        yield {}, ""
        if ignored := _ignored(self._view):
            yield _together(ignored), f", by a join that {_words(ignored)}"

    def _other_settings(self) -> Iterator[Trial]:
        ignored = _ignored(self._view)
        choices = [list(some) for size in range(1, len(ignored) + 1) for some in combinations(ignored, size)]
        if self._view.event_key:
            choices.append([_every_version()])
        if not self._view.aggregations:  # that of windows is asked with the moments
            end = _other_end(self._view)
            choices += [[end], *([[*ignored, end]] if ignored else [])]
        for chosen in choices:
            altered = _together(chosen)
            (answers,) = self._answers([self._times], altered)
            yield Trial(_words(chosen), any(one.leak for one in chosen), answers, frozenset(altered))

    def _at(self, moments: Sequence[Moments], altered: Mapping[str, Any], also: str) -> Iterator[Trial]:
        for answers, each in zip(self._answers([each.times for each in moments], altered), moments, strict=True):
            parts = frozenset({each.text, *altered})
            yield Trial(each.text + also, each.leak, answers, parts)

    def _best_guess(self, altered: Mapping[str, Any], gap: int, zone: str | None) -> list[Moments]:
        """Return the guessed times that explain the most differences; they are chosen on few rows."""
        rows = np.flatnonzero(sum(column.differing for column in self._columns))
        if not len(rows):
            return []
        rows = rows[:: max(1, len(rows) // _GUESSED_ROWS)]
        times, columns = self._times[rows], [column.at(rows) for column in self._columns]
        alike: dict[bytes, dict[str, Guess]] = {}
        for guess in guesses(gap, zone):
            with suppress(pa.ArrowException, ValueError):  # a zone that this machine does not know
                alike.setdefault(guess.at(times).times.tobytes(), {}).setdefault(guess.kind, guess)
        alike.pop(times.tobytes(), None)
        best, most = {}, 0
        answers = self._answers([np.frombuffer(moved, np.int64) for moved in alike], altered, rows)
        for same, answer in zip(alike.values(), answers, strict=True):
            trial = Trial("", False, answer)
            explained = sum(int((column.hits(trial) & column.differing).sum()) for column in columns)
            if explained > most:
                best, most = same, explained
        return [guess.at(self._times) for guess in best.values()]

    def _turns(self, altered: Mapping[str, Any]) -> dict[str, Times]:
        self._try([self._times])
        statement = self._macros.text(
            "_turns_statement",
            alias=self._request.alias,
            spine=_TRIED,
            features=self._features,
            asked={"history": _HISTORY, "altered": dict(altered)},
        )
        table = self._warehouse.table(statement, self._what)
        return {name: numbers_of(table[name]) for name in ("following", "preceding", "newest", "oldest")}

    def _answers(
        self, times: Sequence[Times], altered: Mapping[str, Any], rows: Any = None
    ) -> Iterator[dict[str, pa.Array]]:
        """Yield the answers at each of several times, for all rows of the sample or for some."""
        size = len(self._times) if rows is None else len(rows)
        at_once = max(1, _MOST_TRIED // max(1, size))
        for start in range(0, len(times), at_once):
            some = times[start : start + at_once]
            self._try(some, rows)
            statements = self._macros.data(
                "_view_statements",
                alias=self._request.alias,
                spine=_TRIED,
                features=self._features,
                options={
                    "full_feature_names": True,
                    "defaults": False,
                    "history": _HISTORY,
                    "plan": "stacked" if self._view.aggregations else None,
                    "altered": dict(altered),
                },
            )
            table = in_order(self._warehouse.table_later(statements, self._what).result(), size * len(some))
            for number in range(len(some)):
                yield {
                    feature: table[f"{self._request.alias}__{feature}"].slice(number * size, size).combine_chunks()
                    for feature in self._request.features
                }

    def _try(self, times: Sequence[Times], rows: Any = None) -> None:
        """Make the spine: the rows of the sample at each of the times."""
        keys = self._keys if rows is None else self._keys.take(row_numbers(rows))
        size = len(times[0])
        together = np.concatenate(times)
        columns = {name: pa.chunked_array(column.chunks * len(times), column.type) for name, column in zip(
            keys.column_names, keys.columns, strict=True
        )}  # fmt: skip
        numbers = row_numbers(np.arange(1, size * len(times) + 1, dtype="int64"))
        moments = pa.array(together, mask=together == NO_MOMENT)
        spine = pa.table({**columns, "_pit_row": numbers, "_pit_time": moments})
        self._warehouse.register("_pit_tried_rows", spine)
        self._warehouse.execute(f"create or replace temp table {_TRIED} as from _pit_tried_rows", self._what)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting that a join by hand may lack: words, what replaces it, and whether that leaks."""

    words: str
    altered: Mapping[str, Any]
    leak: bool


def _ignored(view: FeatureView) -> list[_Setting]:
    """Return the settings of a view that a join by hand may ignore."""
    found = []
    if view.created_timestamp:
        altered: dict[str, Any] = {"created_timestamp": None, "event_key": []}
        if view.event_key or _restates(view):
            # The last version counts, as in the state of today, or if a join has sorted by the created time.
            altered["relation"] = _VERSIONS
        found.append(_Setting(f"the created time ({view.created_timestamp})", altered, True))
    if view.lag:
        found.append(_Setting(f"the lag of {format_duration(view.lag)}", {"lag": None}, True))
    if view.ttl:
        found.append(_Setting(f"the ttl of {format_duration(view.ttl)}", {"ttl": None}, False))
    if view.deleted and not view.event_key:
        found.append(_Setting(f"the mark {view.deleted}", {"deleted": None}, False))
    return found


def _every_version() -> _Setting:
    altered: dict[str, Any] = {"created_timestamp": None, "event_key": [], "deleted": None}
    return _Setting("counts every version of an event", altered, True)


def _restates(view: FeatureView) -> bool:
    """Return whether rows of the same keys and event time are versions of one row, not events of a window."""
    return bool(view.created_timestamp) and not view.aggregations


def _other_end(view: FeatureView) -> _Setting:
    """Return the other end of the interval: whether a row counts that becomes known exactly at T."""
    if view.inclusive:
        return _Setting("is strict, where the view is inclusive", {"inclusive": False}, False)
    return _Setting("is inclusive, where the view is strict", {"inclusive": True}, True)


def _together(settings: Sequence[_Setting]) -> dict[str, Any]:
    return {name: value for one in settings for name, value in one.altered.items()}


def _words(settings: Sequence[_Setting]) -> str:
    """Return settings in words: "ignores the lag of 6 hours, the ttl of 2 days"."""
    ignored = [one.words for one in settings if one.words.startswith("the ")]
    others = [one.words for one in settings if one.words not in ignored]
    return " and ".join([*([f"ignores {', '.join(ignored)}"] if ignored else []), *others])


def _distinct(moments: Sequence[Moments], times: Times) -> list[Moments]:
    """Join what has the same times, and leave out what has those of the sample itself."""
    found: dict[bytes, Moments] = {times.tobytes(): Moments("", times, False)}
    for each in moments:
        key = each.times.tobytes()
        before = found.get(key)
        found[key] = Moments(f"{before.text}, or {each.text}", before.times, before.leak) if before else each
    return list(found.values())[1:]


def lacks_value(answer: pa.Array) -> Flags:
    """Return whether each value is null or NaN."""
    flags = answer.is_null(nan_is_null=pa.types.is_floating(answer.type))
    return as_flags(pc.fill_null(flags, True))
