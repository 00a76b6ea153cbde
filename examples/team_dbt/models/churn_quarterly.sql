-- Cancellations by quarter: a mart of a team's own project, made from one of the package.
select
    segment_name,
    segment_value,
    {{ dbt.date_trunc('quarter', 'month') }} as quarter,
    sum(churned_users + churned_same_month) as churned_users,
    bool_and(is_complete) as is_complete
from {{ ref('user_engagement_dbt', 'churn_monthly') }}
where churn_kind = 'declared'
group by segment_name, segment_value, {{ dbt.date_trunc('quarter', 'month') }}
