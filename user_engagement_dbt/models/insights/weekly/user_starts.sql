-- The first eight weeks of each user's activity.
with starts as (

    select
        days.user_number,
        count(case when days.activity_date - days.signup_date <= 6 then 1 end) as active_days,
        sum(case when days.activity_date - days.signup_date <= 6 then days.sessions else 0 end) as sessions,
        max(case when days.activity_date - days.signup_date between 1 and 6 then 1 else 0 end) as is_activated,
        max(case when days.activity_date - days.signup_date between 28 and 55 then 1 else 0 end) as is_retained
    from {{ ref('active_days') }} as days
    cross join {{ ref('complete_weeks') }} as weeks
    where days.activity_date - days.signup_date <= 55 and days.activity_date <= weeks.last_day
    group by days.user_number

),

kinds as (

    select
        user_number,
        count(distinct device_type) as device_types,
        count(distinct interaction_type) as interaction_types
    from {{ ref('first_week_kinds') }}
    group by user_number

),

final as (

    select
        traits.*,
        coalesce(starts.active_days, 0) as active_days,
        coalesce(starts.sessions, 0) as sessions,
        coalesce(kinds.device_types, 0) as device_types,
        coalesce(kinds.interaction_types, 0) as interaction_types,
        coalesce(starts.is_activated, 0) as is_activated,
        coalesce(starts.is_retained, 0) as is_retained,
        {{ add_days('traits.signup_date', 6) }} <= weeks.last_day as is_activation_observed,
        {{ add_days('traits.signup_date', 55) }} <= weeks.last_day as is_retention_observed
    from {{ ref('user_traits') }} as traits
    left join starts on traits.user_number = starts.user_number
    left join kinds on traits.user_number = kinds.user_number
    cross join {{ ref('complete_weeks') }} as weeks
    where traits.in_scope

)

select * from final
