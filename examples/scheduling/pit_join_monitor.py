"""An Airflow DAG: look every hour how fresh features are."""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "pit_join_monitor",
    schedule="37 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # a run judges the present, whatever hour it stands for
    max_active_runs=1,
):
    BashOperator(
        task_id="monitor",
        bash_command="/srv/features/.venv/bin/pit-join monitor --wait 600 --textfile logs/pit_join.prom",
        cwd="/srv/features",
        env={"PIT_JOIN_ONLINE_STORE": "/srv/features/online/prod"},
        append_env=True,  # secrets: PIT_JOIN_WEBHOOK is taken from the worker's environment
        execution_timeout=timedelta(minutes=20),
    )
