{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'user_week_checksums', 'month_column': 'week_month'},
) }}

-- Without the sessions of kinds that have vanished, in all weeks: what the others show is comparable over time.
with outdated as (

    {{ outdated_days(ref('user_week_checksums')) }}

),

vanished_numbers as (

    select kind_number
    from {{ ref('session_kinds') }}
    where
        device_type in (select value from {{ ref('vanished_kinds') }} where attribute = 'device_type')
        or interaction_type in (select value from {{ ref('vanished_kinds') }} where attribute = 'interaction_type')

),

vanished as (

    select
        days.user_number,
        days.activity_date,
        sum(days.sessions) as sessions
    from {{ ref('active_kinds') }} as days
    inner join outdated on days.activity_date = outdated.calendar_date
    inner join vanished_numbers on days.kind_number = vanished_numbers.kind_number
    group by days.user_number, days.activity_date

),

days as (

    select
        days.user_number,
        outdated.week_start,
        outdated.week_month,
        outdated.built_from,
        days.sessions as all_sessions,
        days.sessions - coalesce(vanished.sessions, 0) as sessions,
        days.session_seconds
    from {{ ref('active_days') }} as days
    inner join outdated on days.activity_date = outdated.calendar_date
    left join vanished
        on days.user_number = vanished.user_number and days.activity_date = vanished.activity_date

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
        end) as log_seconds,
        min(week_month) as week_month,
        min(built_from) as built_from
    from days
    group by user_number, week_start

)

select * from final
