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

final as (

    select
        days.user_number,
        {{ week_start('days.activity_date') }} as week_start,
        count(*) as active_days,
        sum(days.sessions - coalesce(vanished.sessions, 0)) as sessions,
        -- a day's seconds are not known by kind: what vanished had its share by sessions
        sum(
            cast(days.session_seconds as double) * (days.sessions - coalesce(vanished.sessions, 0)) / days.sessions
        ) as session_seconds
    from {{ ref('active_days') }} as days
    left join vanished
        on days.user_number = vanished.user_number and days.activity_date = vanished.activity_date
    where days.sessions > coalesce(vanished.sessions, 0)
    group by days.user_number, {{ week_start('days.activity_date') }}

)

select * from final
