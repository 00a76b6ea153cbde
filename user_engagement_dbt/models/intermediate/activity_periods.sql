{{ config(materialized='ephemeral') }}

with final as (

    select
        periods.period_kind,
        periods.period_start,
        periods.observed_days,
        periods.is_complete and count(outages.outage_date) = 0 as is_complete
    from {{ ref('periods') }} as periods
    left join {{ ref('outages') }} as outages
        on
            outages.outage_date between periods.period_start and periods.period_end
            and outages.outage_days > 1
    group by periods.period_kind, periods.period_start, periods.observed_days, periods.is_complete

)

select * from final
