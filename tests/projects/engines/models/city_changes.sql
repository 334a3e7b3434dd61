{{ pit_join.window_history('order_versions') }}
