{{ config(materialized='ephemeral') }}

with days as (

    select
        calendar.calendar_date as signup_date,
        calendar.month_start as signup_month,
        numbers.number as period_number
    from {{ ref('calendar') }} as calendar
    inner join {{ ref('numbers') }} as numbers on numbers.number <= {{ var('max_periods') }}

),

final as (

    select
        signup_date,
        'calendar_month' as period_kind,
        period_number,
        {{ add_months('signup_month', 'period_number') }} as period_start,
        {{ add_days(add_months('signup_month', 'period_number + 1'), -1) }} as period_end
    from days

    union all

    select
        signup_date,
        'relative_month' as period_kind,
        period_number,
        {{ add_months('signup_date', 'period_number') }} as period_start,
        {{ add_days(add_months('signup_date', 'period_number + 1'), -1) }} as period_end
    from days

    union all

    select
        signup_date,
        'days_30' as period_kind,
        period_number,
        {{ add_days('signup_date', '30 * period_number') }} as period_start,
        {{ add_days('signup_date', '30 * period_number + 29') }} as period_end
    from days

)

select * from final
