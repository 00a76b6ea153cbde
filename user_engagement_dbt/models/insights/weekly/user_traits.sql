{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'cohort_checksums', 'month_column': 'signup_month'},
) }}

-- The user's own habits are those of the first eight weeks that are observed: a group must not depend on what
-- happened to it later. A habit that nothing shows yet is `none`.
with outdated as (

    {{ outdated_months(ref('cohort_checksums')) }}

),

first_days as (

    {{ first_days(56) }}

),

windows as (

    select
        users.user_number,
        users.user_id,
        users.segment_cell,
        users.signup_date,
        users.signup_month,
        users.in_scope,
        outdated.built_from,
        greatest(users.signup_date, horizon.data_start) as observed_from,
        weeks.last_day
    from {{ ref('users') }} as users
    inner join outdated on users.signup_month = outdated.signup_month
    cross join {{ ref('horizon') }} as horizon
    cross join {{ ref('complete_weeks') }} as weeks
    where users.signup_date <= weeks.last_day

),

early_kinds as (

    select
        days.user_number,
        kinds.device_type,
        kinds.interaction_type,
        sum(days.sessions) as sessions
    from {{ ref('active_kinds') }} as days
    inner join first_days on days.activity_date = first_days.calendar_date
    inner join windows on days.user_number = windows.user_number
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    where
        days.activity_date >= windows.observed_from
        and days.activity_date < {{ add_days('windows.observed_from', 56) }}
    group by days.user_number, kinds.device_type, kinds.interaction_type

),

{% for habit in ['device_type', 'interaction_type'] -%}
ranked_{{ habit }} as (

    select
        user_number,
        {{ habit }},
        row_number() over (partition by user_number order by sum(sessions) desc, {{ habit }} asc) as place
    from early_kinds
    group by user_number, {{ habit }}

),

{% endfor -%}
early_days as (

    select
        days.user_number,
        count(*) as active_days
    from {{ ref('active_days') }} as days
    inner join first_days on days.activity_date = first_days.calendar_date
    inner join windows on days.user_number = windows.user_number
    where
        days.activity_date > windows.signup_date
        and days.activity_date >= windows.observed_from
        and days.activity_date < {{ add_days('windows.observed_from', 56) }}
    group by days.user_number

),

habits as (

    select
        windows.user_number,
        windows.segment_cell,
        windows.signup_date,
        windows.signup_month,
        windows.in_scope,
        coalesce(devices.device_type, 'none') as main_device,
        coalesce(interactions.interaction_type, 'none') as interaction_type,
        case
            when {{ add_days('windows.observed_from', 55) }} > windows.last_day then 'none'
            when coalesce(early_days.active_days, 0) < 3 then 'low'
            when early_days.active_days < 8 then 'medium'
            when early_days.active_days < 16 then 'high'
            else 'power'
        end as activity_level,
        {{ user_bucket('windows.user_id') }} as bucket,
        windows.built_from
    from windows
    left join ranked_device_type as devices on windows.user_number = devices.user_number and devices.place = 1
    left join ranked_interaction_type as interactions
        on windows.user_number = interactions.user_number and interactions.place = 1
    left join early_days on windows.user_number = early_days.user_number

),

final as (

    select
        *,
        {{ hash63(['segment_cell', 'main_device', 'interaction_type', 'activity_level']) }} as group_cell
    from habits

)

select * from final
