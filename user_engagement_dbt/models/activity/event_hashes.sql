{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
    pre_hook="{{ drop_unless_incremental(['repeated_events']) }}",
) }}

with final as (

    select
        activity_date,
        {{ sorting_hash('event_id') }} as event_hash
    from {{ ref('stg_user_engagement') }}
    where event_id is not null and {{ in_run_window('activity_date') }}

)

select * from final
