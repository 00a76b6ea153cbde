{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date', 'built_from': 'month_checksums'},
) }}

with outdated as (

    {{ outdated_months(ref('month_checksums')) }}

),

final as (

    select
        days.*,
        outdated.activity_month,
        cast(
            days.activity_date - lag(days.activity_date) over (
                partition by days.user_number, outdated.activity_month order by days.activity_date
            ) as integer
        ) as days_since_previous,
        outdated.built_from
    from {{ ref('counted_days') }} as days
    inner join {{ ref('calendar') }} as calendar on days.activity_date = calendar.calendar_date
    inner join outdated on calendar.month_start = outdated.activity_month

)

select * from final
