-- Retained users of each signup month at a price of 10 a month: a mart made from a table of another schema.
select
    signup_month,
    period_number,
    10.0 * retained_users as revenue,
    10.0 * cohort_size as revenue_at_signup,
    observed_through
from {{ ref('cohort_retention') }}
where segment_name = 'all' and period_kind = 'relative_month'
