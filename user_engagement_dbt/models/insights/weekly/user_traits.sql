-- The user's own habits are those of the first eight weeks that are observed: a group must not depend on what
-- happened to it later. A habit that nothing shows yet is `none`.
with windows as (

    select
        users.user_number,
        users.segment_cell,
        users.signup_date,
        users.in_scope,
        greatest(users.signup_date, horizon.data_start) as observed_from,
        weeks.last_day
    from {{ ref('users') }} as users
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
    inner join windows on days.user_number = windows.user_number
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    where
        days.activity_date >= windows.observed_from
        and days.activity_date < {{ add_days('windows.observed_from', 56) }}
        and days.activity_date <= windows.last_day
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
    inner join windows on days.user_number = windows.user_number
    where
        days.activity_date > windows.signup_date
        and days.activity_date >= windows.observed_from
        and days.activity_date < {{ add_days('windows.observed_from', 56) }}
        and days.activity_date <= windows.last_day
    group by days.user_number

),

churns as (

    select count(declared_churn_date) > 0 as is_declared
    from {{ ref('user_history') }}

),

habits as (

    select
        windows.user_number,
        windows.segment_cell,
        windows.signup_date,
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
        {{ user_bucket('users.user_id') }} as bucket,
        case
            when {{ churn_date('history', 'churns.is_declared') }} <= windows.last_day
                then {{ churn_date('history', 'churns.is_declared') }}
        end as churn_date
    from windows
    inner join {{ ref('users') }} as users on windows.user_number = users.user_number
    inner join {{ ref('user_history') }} as history on users.user_id = history.user_id
    left join ranked_device_type as devices on windows.user_number = devices.user_number and devices.place = 1
    left join ranked_interaction_type as interactions
        on windows.user_number = interactions.user_number and interactions.place = 1
    left join early_days on windows.user_number = early_days.user_number
    cross join churns

),

final as (

    select
        *,
        cast(
            dense_rank() over (order by segment_cell, main_device, interaction_type, activity_level) as integer
        ) as group_cell
    from habits

)

select * from final
