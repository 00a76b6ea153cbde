-- What a week with an outage lost: what the same days of the week brought in the weeks nearest to it that have no
-- outage, up to four before and four after.
with weeks as (

    select
        calendar.week_start,
        count(outages.outage_date) = 0 as is_recorded
    from {{ ref('calendar') }} as calendar
    cross join {{ ref('complete_weeks') }} as complete
    left join {{ ref('outages') }} as outages on calendar.calendar_date = outages.outage_date
    where calendar.week_start >= complete.first_monday and calendar.week_start <= complete.last_day
    group by calendar.week_start

),

neighbours as (

    select
        interrupted.week_start,
        recorded.week_start as compared_week,
        recorded.week_start - interrupted.week_start as days_between,
        row_number() over (
            partition by interrupted.week_start, recorded.week_start < interrupted.week_start
            order by abs(recorded.week_start - interrupted.week_start)
        ) as distance
    from weeks as interrupted
    cross join weeks as recorded
    where not interrupted.is_recorded and recorded.is_recorded

),

lost_days as (

    select
        neighbours.week_start,
        neighbours.compared_week,
        {{ add_days('outages.outage_date', 'neighbours.days_between') }} as activity_date
    from neighbours
    inner join {{ ref('outages') }} as outages
        on neighbours.week_start = {{ week_start('outages.outage_date') }}
    where neighbours.distance <= 4

),

compared as (

    select distinct
        week_start,
        compared_week
    from lost_days

),

by_user as (

    select
        compared.week_start,
        compared.compared_week,
        days.user_number,
        count(*) as active_days,
        count(lost_days.activity_date) as lost_days
    from {{ ref('active_days') }} as days
    inner join compared on {{ week_start('days.activity_date') }} = compared.compared_week
    left join lost_days
        on
            compared.week_start = lost_days.week_start
            and compared.compared_week = lost_days.compared_week
            and days.activity_date = lost_days.activity_date
    group by compared.week_start, compared.compared_week, days.user_number

),

final as (

    select
        week_start,
        compared_week,
        {{ count_of('sum(lost_days)') }} as active_days,
        {{ count_of('count(case when lost_days = active_days then 1 end)') }} as active_users
    from by_user
    group by week_start, compared_week

)

select * from final
