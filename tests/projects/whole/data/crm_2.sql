update customers set tier = 'gold', city = 'Paris', moved_at = '2026-01-07 09:00:00+00' where customer_id = '007';
delete from customers where customer_id = '042';
