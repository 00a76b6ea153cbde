{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

with final as (

    select
        activity_date,
        count(*) as total_rows,
        count(*) - count(user_id) as rows_without_user
    from {{ ref('stg_user_engagement') }}
    where {{ in_run_window('activity_date') }}
    group by activity_date

)

select * from final
