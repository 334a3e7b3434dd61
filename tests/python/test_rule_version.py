"""Results on record beside the version of the rule: they change together, since stored history is made anew by it.

The record holds what the corpus wants, which are results of the oracle; test_corpus.py holds the SQL to these in every
plan. So a change of the rule is seen that the corpus has a case for, once the corpus is written anew. Not seen are the
SQL itself, a change that no case of the corpus touches, last digits of floats that the corpus compares with a
tolerance, and what the corpus does not ask for: on-demand features, the order of columns and their SQL types.

After a change of results that is meant, raise `RULE_VERSION` in pit_join/history/fingerprints.py; then, as after new
cases in the corpus:

    .venv/bin/python -m pytest tests/python/test_rule_version.py --update-golden
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.corpus import CORPUS, KINDS

from pit_join.history.fingerprints import RULE_VERSION

RECORD = Path(__file__).parent / "golden" / "rule_version.json"


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def results() -> dict[str, str]:
    """The results of each case of the corpus, by the case."""
    entries = [entry for kind in KINDS for entry in json.loads((CORPUS / f"{kind}.json").read_text())]
    return {digest(entry["case"]): digest(entry["wanted"]) for entry in entries}


def problem(stored: dict[str, Any], found: dict[str, str], version: int) -> str | None:
    """What is wrong with the record; None if nothing is."""
    changed = {case for case, result in found.items() if stored["results"].get(case, result) != result}
    if changed and version <= stored["version"]:
        return f"results of {len(changed)} cases have changed: raise RULE_VERSION, so that stored history is made anew"
    if stored != {"version": version, "results": found}:
        return "run this test with --update-golden"
    return None


def test_results_change_with_the_version_of_the_rule(request: pytest.FixtureRequest) -> None:
    found = results()
    stored = json.loads(RECORD.read_text()) if RECORD.exists() else {"version": 0, "results": {}}
    said = problem(stored, found, RULE_VERSION)
    if said and "raise" not in said and request.config.getoption("--update-golden"):
        RECORD.write_text(json.dumps({"version": RULE_VERSION, "results": found}, indent=1) + "\n")
        return
    assert said is None, said


def test_a_change_of_results_is_seen() -> None:
    stored = {"version": 1, "results": {"a": "1", "b": "2"}}
    assert problem(stored, {"a": "1", "b": "2"}, 1) is None
    assert "raise RULE_VERSION" in str(problem(stored, {"a": "1", "b": "3"}, 1))
    assert "--update-golden" in str(problem(stored, {"a": "1", "b": "3"}, 2))
    assert "--update-golden" in str(problem(stored, {"a": "1", "b": "2", "c": "3"}, 1))
