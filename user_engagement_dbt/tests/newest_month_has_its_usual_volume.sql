{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'user_days'}}}) }}

-- Sessions a day of the newest month against the six months before it: a warning where it lies further from their
-- median than half of it, and than four times their median absolute deviation (scaled as a standard deviation).
with months as (

    select
        {{ month_start('days.activity_date') }} as activity_month,
        sum(days.sessions) as sessions
    from {{ ref('user_days') }} as days
    cross join {{ ref('horizon') }} as horizon
    where days.activity_date >= horizon.first_day and days.activity_date <= horizon.as_of
    group by {{ month_start('days.activity_date') }}

),

rates as (

    select
        periods.period_start as activity_month,
        coalesce(months.sessions, 0) / cast(periods.observed_days as double) as sessions_a_day,
        row_number() over (order by periods.period_start desc) as age
    from {{ ref('periods') }} as periods
    left join months on periods.period_start = months.activity_month
    where periods.period_kind = 'month'

),

history as (

    select median(sessions_a_day) as usual
    from rates
    where age between 2 and 7

),

deviations as (

    select
        history.usual,
        median(abs(rates.sessions_a_day - history.usual)) as usual_deviation,
        count(*) as months
    from rates
    cross join history
    where rates.age between 2 and 7
    group by history.usual

)

select
    rates.activity_month,
    rates.sessions_a_day,
    deviations.usual,
    deviations.usual_deviation
from rates
cross join deviations
where
    rates.age = 1
    and deviations.months >= 3
    and abs(rates.sessions_a_day - deviations.usual) > greatest(
        0.5 * deviations.usual, 4 * 1.4826 * deviations.usual_deviation
    )
