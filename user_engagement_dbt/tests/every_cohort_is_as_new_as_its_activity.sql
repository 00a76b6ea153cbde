{{ config(meta={'dagster': {'ref': {'name': 'kpi_summary'}}}) }}

-- Cohorts of one month, rebuilt after new activity, beside older cohorts would mix two horizons. Checked where the last
-- mart is built, and so before anything is published: to rebuild one cohort at a time is fine until then.
-- depends_on: {{ ref('kpi_summary') }}
with activity as (

    select
        users.signup_month,
        max(days.activity_date) as last_active_date
    from {{ ref('active_days') }} as days
    inner join {{ ref('users') }} as users on days.user_number = users.user_number
    group by users.signup_month

),

cohorts as (

    select
        signup_month,
        max(last_active_date) as last_active_date,
        min(observed_through) as observed_through
    from {{ ref('user_history') }}
    group by signup_month

)

select
    activity.signup_month,
    activity.last_active_date,
    cohorts.last_active_date as last_active_date_in_cohort,
    cohorts.observed_through
from activity
cross join {{ ref('horizon') }} as horizon
left join cohorts on activity.signup_month = cohorts.signup_month
where
    cohorts.signup_month is null
    or cohorts.last_active_date is null
    or cohorts.last_active_date < activity.last_active_date
    or cohorts.observed_through <> horizon.as_of
