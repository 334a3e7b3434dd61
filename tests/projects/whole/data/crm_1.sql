create table customers (customer_id varchar, tier varchar, city varchar, moved_at timestamptz);
insert into customers values
    ('007', 'free', 'Oslo', '2026-01-05 09:00:00+00'),
    ('042', 'gold', 'Rome', '2026-01-05 09:00:00+00');

create table "Account Balances" ("Customer" varchar, "At" timestamp, "Balance" decimal(10, 2));
insert into "Account Balances" values
    ('007', '2026-03-01 00:00:00', 10.5),
    ('007', '2026-03-04 00:00:00', -3),
    ('042', '2026-03-04 12:00:00', 8);
