-- Monday weeks, all complete. A year apart, so that season and weekday agree, where there is history enough; else by
-- half of the history, in steps of four weeks. Below 16 weeks nothing is compared. New users are those whose first 56
-- days are observed.
with spans as (

    select
        last_day,
        cast((last_day + 1 - first_monday) / 7 as integer) as weeks
    from {{ ref('complete_weeks') }}

),

lags as (

    select
        last_day,
        weeks,
        case
            when weeks >= 76 then 52
            when weeks >= 16 then cast(floor(weeks / 8) as integer) * 4
            else 0
        end as lag_weeks
    from spans

),

widths as (

    select
        *,
        greatest(0, least(12, lag_weeks, weeks - lag_weeks - 8)) as signup_weeks
    from lags
    where lag_weeks > 0

),

periods as (

    select 'before' as period, lag_weeks * 7 as days_back from lags
    union all
    select 'after' as period, 0 as days_back from lags

),

final as (

    select
        periods.period,
        {{ add_days('widths.last_day', '-27 - periods.days_back') }} as first_day,
        {{ add_days('widths.last_day', '-periods.days_back') }} as last_day,
        {{ add_days('widths.last_day', '-55 - 7 * widths.signup_weeks - periods.days_back') }} as first_signup_day,
        {{ add_days('widths.last_day', '-56 - periods.days_back') }} as last_signup_day,
        widths.lag_weeks
    from widths
    cross join periods

)

select * from final
