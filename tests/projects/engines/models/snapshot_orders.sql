{{ pit_join.latest_snapshot('orders', as_of='2026-03-20 12:00') }}
