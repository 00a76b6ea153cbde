-- A row per user: this mart stays in the warehouse, and is not published.
select user_id, active_days
from {{ ref('user_lifecycle') }}
where active_days >= 10
