{{ pit_join.latest_snapshot('logins', as_of='2026-03-02T12:00:00Z') }}
