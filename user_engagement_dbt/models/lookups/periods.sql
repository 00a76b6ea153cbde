{{ config(materialized='ephemeral') }}

with days as (

    select 'week' as period_kind, week_start as period_start, calendar_date from {{ ref('calendar') }}
    union all
    select 'month' as period_kind, month_start as period_start, calendar_date from {{ ref('calendar') }}

),

bounds as (

    select
        period_kind,
        period_start,
        case
            when period_kind = 'week' then {{ add_days('period_start', 6) }}
            else {{ add_days(add_months('period_start', 1), -1) }}
        end as period_end,
        count(*) as observed_days
    from days
    group by period_kind, period_start

),

final as (

    select
        bounds.period_kind,
        bounds.period_start,
        bounds.period_end,
        bounds.observed_days,
        bounds.period_start >= horizon.first_day and bounds.period_end <= horizon.as_of as is_complete
    from bounds
    cross join {{ ref('horizon') }} as horizon

)

select * from final
