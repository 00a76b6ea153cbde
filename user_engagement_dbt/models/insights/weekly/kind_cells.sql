-- Weekly active users and sessions by interaction type. A user counts in the type of most of their sessions of the
-- period, a session in its own.
with period_days as (

    select
        calendar.calendar_date,
        periods.period,
        periods.first_day
    from {{ ref('calendar') }} as calendar
    inner join {{ ref('compared_periods') }} as periods
        on calendar.calendar_date >= periods.first_day and calendar.calendar_date <= periods.last_day

),

days as (

    select
        period_days.period,
        period_days.first_day,
        days.*
    from {{ ref('active_kinds') }} as days
    inner join period_days on days.activity_date = period_days.calendar_date

),

sessions as (

    select
        days.period,
        days.first_day,
        days.user_number,
        users.segment_cell,
        users.signup_date,
        kinds.interaction_type,
        sum(days.sessions) as sessions
    from days
    inner join {{ ref('users') }} as users on days.user_number = users.user_number
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    group by
        days.period,
        days.first_day,
        days.user_number,
        users.segment_cell,
        users.signup_date,
        kinds.interaction_type

),

ranked as (

    select
        *,
        row_number() over (
            partition by period, user_number order by sessions desc, interaction_type asc
        ) as place
    from sessions

),

weeks as (

    select
        period,
        user_number,
        count(distinct {{ week_start('activity_date') }}) as active_weeks
    from days
    group by period, user_number

),

measured as (

    select
        'sessions' as metric,
        period,
        segment_cell,
        {{ tenure_band('first_day - signup_date') }} as tenure,
        interaction_type,
        sessions as measure
    from ranked

    union all

    select
        'weekly_active_users' as metric,
        ranked.period,
        ranked.segment_cell,
        {{ tenure_band('ranked.first_day - ranked.signup_date') }} as tenure,
        ranked.interaction_type,
        weeks.active_weeks as measure
    from ranked
    inner join weeks on ranked.period = weeks.period and ranked.user_number = weeks.user_number
    where ranked.place = 1

),

final as (

    select
        metric,
        period,
        segment_cell,
        tenure,
        interaction_type,
        count(*) as users,
        {{ count_of('sum(measure)') }} as total,
        {{ count_of('sum(measure * measure)') }} as squares
    from measured
    group by metric, period, segment_cell, tenure, interaction_type

)

select * from final
