select 1 as order_id, date '2025-03-01' as ordered_on, 42.0 as amount
