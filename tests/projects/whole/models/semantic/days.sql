select cast(range as date) as day from range(date '2026-03-01', date '2026-03-08', interval 1 day)
