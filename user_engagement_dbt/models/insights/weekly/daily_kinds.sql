{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'week_checksums', 'month_column': 'week_month'},
) }}

with outdated as (

    {{ outdated_days(ref('week_checksums')) }}

),

final as (

    select
        days.activity_date,
        kinds.device_type,
        kinds.interaction_type,
        {{ count_of('sum(days.sessions)') }} as sessions,
        min(outdated.week_month) as week_month,
        min(outdated.built_from) as built_from
    from {{ ref('active_kinds') }} as days
    inner join outdated on days.activity_date = outdated.calendar_date
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    group by days.activity_date, kinds.device_type, kinds.interaction_type

)

select * from final
