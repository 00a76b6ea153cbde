{{ config(materialized='ephemeral') }}

-- The days of known users that count: from signup to the horizon, duplicates taken out.
with duplicates as (

    select
        user_number,
        activity_date,
        count(*) as sessions,
        coalesce(sum(cast(session_seconds as decimal(18, 6))), 0) as session_seconds
    from {{ ref('duplicate_events') }}
    group by user_number, activity_date

),

days as (

    select
        days.user_number,
        users.segment_cell,
        users.signup_date,
        days.activity_date,
        cast(days.sessions - coalesce(duplicates.sessions, 0) as integer) as sessions,
        cast(days.session_seconds - coalesce(duplicates.session_seconds, 0) as decimal(18, 6)) as session_seconds
    from {{ ref('identified_days') }} as days
    inner join {{ ref('users') }} as users on days.user_number = users.user_number
    left join duplicates
        on days.user_number = duplicates.user_number and days.activity_date = duplicates.activity_date
    cross join {{ ref('horizon') }} as horizon
    where
        -- one condition on all of them: as part of the join with users it would cost more than that join
        case
            when days.activity_date between users.signup_date - {{ days_before_signup() }} and horizon.as_of
                then days.sessions > coalesce(duplicates.sessions, 0)
            else false
        end

),

{% if days_before_signup() -%}
-- an event hours before the midnight that a plain signup day stands for
moved as (

    select
        user_number,
        segment_cell,
        signup_date,
        greatest(activity_date, signup_date) as activity_date,
        cast(sum(sessions) as integer) as sessions,
        cast(sum(session_seconds) as decimal(18, 6)) as session_seconds,
        cast(sum(case when activity_date < signup_date then sessions else 0 end) as integer) as sessions_day_before
    from days
    group by user_number, segment_cell, signup_date, greatest(activity_date, signup_date)

),

{% endif -%}
final as (

    select *
    from {{ 'moved' if days_before_signup() else 'days' }}

)

select * from final
