-- Without the sessions of kinds that have vanished, in all weeks: what the others show is comparable over time.
with vanished as (

    select
        days.user_number,
        days.activity_date,
        sum(days.sessions) as sessions
    from {{ ref('active_kinds') }} as days
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    where
        kinds.device_type in (select value from {{ ref('vanished_kinds') }} where attribute = 'device_type')
        or kinds.interaction_type in (
            select value from {{ ref('vanished_kinds') }} where attribute = 'interaction_type'
        )
    group by days.user_number, days.activity_date

),

days as (

    select
        days.user_number,
        {{ week_start('days.activity_date') }} as week_start,
        days.sessions as all_sessions,
        days.sessions - coalesce(vanished.sessions, 0) as sessions,
        days.session_seconds
    from {{ ref('active_days') }} as days
    left join vanished
        on days.user_number = vanished.user_number and days.activity_date = vanished.activity_date
    cross join {{ ref('complete_weeks') }} as weeks
    where days.activity_date <= weeks.last_day

),

final as (

    select
        user_number,
        week_start,
        count(case when sessions > 0 then 1 end) as active_days,
        count(*) as all_active_days,
        sum(sessions) as sessions,
        -- a day's seconds are not known by kind: what vanished had its share by sessions
        sum(cast(session_seconds as double) * sessions / all_sessions) as session_seconds,
        -- of a day's mean: means of logarithms are not moved by a few sessions that were left open
        sum(case
            when session_seconds > 0 then sessions * ln(cast(session_seconds as double) / all_sessions) else 0
        end) as log_seconds
    from days
    group by user_number, week_start

)

select * from final
