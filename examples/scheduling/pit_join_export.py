"""An Airflow DAG: build the features and bring them to the online store, every hour."""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "pit_join_export",
    schedule="7 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # a run brings the store to the present, whatever hour it stands for
    max_active_runs=1,  # the next run waits until this one has ended
    default_args={
        "cwd": "/srv/features",
        "env": {"PIT_JOIN_ONLINE_STORE": "/srv/features/online/prod"},
        "append_env": True,  # secrets: PIT_JOIN_REDIS_PASSWORD is taken from the worker's environment
        "execution_timeout": timedelta(minutes=40),
    },
):
    build = BashOperator(
        task_id="build",
        bash_command="/srv/features/.venv/bin/dbt build --profiles-dir profiles",
    )
    export = BashOperator(
        task_id="export",
        bash_command="/srv/features/.venv/bin/pit-join export --wait 600 --json",
        retries=2,  # it changes all or nothing, so it may be tried again
        retry_delay=timedelta(minutes=2),
    )
    verify = BashOperator(
        task_id="verify",
        bash_command="/srv/features/.venv/bin/pit-join verify --wait 600 --sample 1000",
    )
    build >> export >> verify
