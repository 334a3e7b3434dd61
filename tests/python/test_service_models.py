"""`training_set` with a service in a dbt unit test, which states the service and its views."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.dbt import failures, run_dbt
from support.projects import BASE, KEYS, VALUE, make_project, view

pytestmark = pytest.mark.dbt

LOGINS = view(KEYS, f"{BASE}, {VALUE}")
SERVICE = """
exposures:
  - name: risk
    type: ml
    owner: {name: a, email: a@example.com}
    depends_on: [ref('logins')]
    config: {meta: {pit_join: {full_feature_names: true, features: ["logins:value"]}}}
"""
UNIT_TEST = f"""
unit_tests:
  - name: the_last_value_wins
    model: training
    given:
      - input: ref('labels')
        rows: [{{user_id: a, event_timestamp: 2026-03-02}}, {{user_id: b, event_timestamp: 2026-03-02}}]
      - input: ref('logins')
        rows:
          - {{user_id: a, event_timestamp: 2026-03-01, value: 7}}
          - {{user_id: a, event_timestamp: 2026-02-01, value: 6}}
    expect: {{rows: [{{user_id: a, logins__value: 7}}, {{user_id: b, logins__value: null}}]}}
    overrides:
      macros:
        pit_join.feature_views:
          - name: logins
{LOGINS.replace("    config", "            config").replace("    columns", "            columns")}
"""
SERVICES = """        pit_join.feature_services:
          - {name: risk, config: {meta: {pit_join: {full_feature_names: true, features: ["logins:value"]}}}}
"""


@pytest.mark.parametrize("stated", [True, False])
def test_a_unit_test_states_the_service(tmp_path: Path, stated: bool) -> None:
    shop = make_project(tmp_path / "shop", {"logins": LOGINS}, SERVICE)
    row = "select 'a' as user_id, timestamptz '2026-03-01 00:00:00+00' as event_timestamp"
    (shop / "models" / "labels.sql").write_text(row)
    (shop / "models" / "logins.sql").write_text(f"{row}, 1.0::double as value")
    model = "-- depends_on: {{ ref('logins') }}\n{{ pit_join.training_set(ref('labels'), service='risk') }}"
    (shop / "models" / "training.sql").write_text(model)
    (shop / "models" / "unit_tests.yml").write_text(UNIT_TEST + (SERVICES if stated else ""))
    found = failures(run_dbt(shop, "build"))
    if stated:
        assert found == {}
    else:
        assert "pit_join.feature_services: [...]}}  with the YAML entry of the exposure 'risk'" in str(found)
