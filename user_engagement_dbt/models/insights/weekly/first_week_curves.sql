{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'cohort_checksums', 'month_column': 'signup_month'},
) }}

-- Who is absent from a behaviour's rows did not do it: the rows `all` have everybody.
with outdated as (

    {{ outdated_months(ref('cohort_checksums')) }}

),

first_days as (

    {{ first_days(91) }}

),

observed as (

    select starts.*
    from {{ ref('user_starts') }} as starts
    inner join outdated on starts.signup_month = outdated.signup_month
    where starts.is_activation_observed

),

behaviours as (

    {{ users_by_first_week_behaviour('observed') }}

),

weeks as (

    {% for week in range(1, 13) -%}
    select {{ week }} as week_number
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

signups as (

    select
        behaviours.behaviour,
        observed.signup_month,
        observed.signup_date,
        count(*) as users
    from behaviours
    inner join observed on behaviours.user_number = observed.user_number
    group by behaviours.behaviour, observed.signup_month, observed.signup_date

),

eligible as (

    select
        signups.behaviour,
        signups.signup_month,
        weeks.week_number,
        {{ count_of('sum(signups.users)') }} as eligible_users
    from signups
    cross join weeks
    cross join {{ ref('complete_weeks') }} as complete
    where {{ add_days('signups.signup_date', '7 * weeks.week_number + 6') }} <= complete.last_day
    group by signups.behaviour, signups.signup_month, weeks.week_number

),

active_weeks as (

    select distinct
        days.user_number,
        observed.signup_month,
        weeks.week_number
    from {{ ref('active_days') }} as days
    inner join first_days on days.activity_date = first_days.calendar_date
    inner join observed on days.user_number = observed.user_number
    inner join weeks
        on days.activity_date - days.signup_date between 7 * weeks.week_number and 7 * weeks.week_number + 6
    cross join {{ ref('complete_weeks') }} as complete
    where {{ add_days('days.signup_date', '7 * weeks.week_number + 6') }} <= complete.last_day

),

retained as (

    select
        behaviours.behaviour,
        active_weeks.signup_month,
        active_weeks.week_number,
        count(*) as retained_users
    from active_weeks
    inner join behaviours on active_weeks.user_number = behaviours.user_number
    group by behaviours.behaviour, active_weeks.signup_month, active_weeks.week_number

),

final as (

    select
        eligible.behaviour,
        eligible.signup_month,
        eligible.week_number,
        eligible.eligible_users,
        coalesce(retained.retained_users, 0) as retained_users,
        outdated.built_from
    from eligible
    inner join outdated on eligible.signup_month = outdated.signup_month
    left join retained
        on
            eligible.behaviour = retained.behaviour
            and eligible.signup_month = retained.signup_month
            and eligible.week_number = retained.week_number

)

select * from final
