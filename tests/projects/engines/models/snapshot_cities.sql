{{ pit_join.latest_snapshot('cities') }}
