{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date', 'built_from': 'active_days'},
) }}

with outdated as (

    {{ outdated_months(ref('active_days')) }}

),

final as (

    select
        days.segment_cell,
        days.activity_date,
        days.activity_month,
        days.days_since_previous,
        count(*) as users,
        outdated.built_from
    from {{ ref('active_days') }} as days
    inner join outdated on days.activity_month = outdated.activity_month
    where days.days_since_previous is not null
    group by
        days.segment_cell, days.activity_date, days.activity_month, days.days_since_previous, outdated.built_from

)

select * from final
