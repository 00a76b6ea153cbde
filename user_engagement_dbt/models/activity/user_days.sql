{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

with sessions as (

    select * from {{ ref('stg_user_engagement') }}
    where user_id is not null and {{ in_run_window('activity_date') }}

),

final as (

    select
        user_id,
        activity_date,
        count(*) as sessions,
        -- a decimal adds up to the same sum in whatever order the rows come
        coalesce(sum(cast(session_seconds as decimal(18, 6))), 0) as session_seconds
    from sessions
    group by user_id, activity_date

)

select * from final
