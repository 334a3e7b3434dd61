{{ pit_join.latest_snapshot('orders', as_of='2026-03-02T12:00:00Z') }}
