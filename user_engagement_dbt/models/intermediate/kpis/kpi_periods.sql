{{ config(materialized='ephemeral') }}

-- every KPI is measured twice: for its period and for the one before
with months as (

    select max(period_start) as month
    from {{ ref('periods') }}
    where period_kind = 'month' and is_complete

),

current_period as (

    select
        months.month,
        horizon.as_of as through
    from {{ ref('horizon') }} as horizon
    cross join months

),

slots as (

    select 'current' as slot, month, through from current_period
    union all
    select
        'previous' as slot,
        {{ add_months('month', -1) }} as month,
        {{ add_months('through', -1) }} as through
    from current_period

),

final as (

    select
        slot,
        through,
        month,
        {{ add_days(add_months('month', 1), -1) }} as month_end
    from slots

)

select * from final
