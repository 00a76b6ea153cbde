{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'cohort_checksums', 'month_column': 'signup_month'},
) }}

-- The first eight weeks of each user's activity.
with outdated as (

    {{ outdated_months(ref('cohort_checksums')) }}

),

first_days as (

    {{ first_days(56) }}

),

traits as (

    select
        traits.*,
        outdated.built_from as cohort_built_from
    from {{ ref('user_traits') }} as traits
    inner join outdated on traits.signup_month = outdated.signup_month
    where traits.in_scope

),

starts as (

    select
        days.user_number,
        count(case when days.activity_date - days.signup_date <= 6 then 1 end) as active_days,
        sum(case when days.activity_date - days.signup_date <= 6 then days.sessions else 0 end) as sessions,
        max(case when days.activity_date - days.signup_date between 1 and 6 then 1 else 0 end) as is_activated,
        max(case when days.activity_date - days.signup_date between 28 and 55 then 1 else 0 end) as is_retained
    from {{ ref('active_days') }} as days
    inner join first_days on days.activity_date = first_days.calendar_date
    where days.activity_date - days.signup_date <= 55
    group by days.user_number

),

kinds as (

    select
        first_week.user_number,
        count(distinct first_week.device_type) as device_types,
        count(distinct first_week.interaction_type) as interaction_types
    from {{ ref('first_week_kinds') }} as first_week
    inner join outdated on first_week.signup_month = outdated.signup_month
    group by first_week.user_number

),

final as (

    select
        traits.user_number,
        traits.segment_cell,
        traits.signup_date,
        traits.signup_month,
        coalesce(starts.active_days, 0) as active_days,
        coalesce(starts.sessions, 0) as sessions,
        coalesce(kinds.device_types, 0) as device_types,
        coalesce(kinds.interaction_types, 0) as interaction_types,
        coalesce(starts.is_activated, 0) as is_activated,
        coalesce(starts.is_retained, 0) as is_retained,
        {{ add_days('traits.signup_date', 6) }} <= weeks.last_day as is_activation_observed,
        {{ add_days('traits.signup_date', 55) }} <= weeks.last_day as is_retention_observed,
        traits.cohort_built_from as built_from
    from traits
    left join starts on traits.user_number = starts.user_number
    left join kinds on traits.user_number = kinds.user_number
    cross join {{ ref('complete_weeks') }} as weeks

)

select * from final
