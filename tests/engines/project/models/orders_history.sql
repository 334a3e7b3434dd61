{{ pit_join.window_history('orders', grid='1 hour') }}
