{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_month'},
) }}

with sessions as (

    select
        {{ month_start('activity_date') }} as activity_month,
        interaction_type,
        session_seconds,
        -- exact, so that they add up to the same sum in whatever order the rows come
        cast(session_seconds as decimal(19, 6)) as exact_seconds
    from {{ ref('stg_user_engagement') }}
    where user_id is not null and {{ in_run_window('activity_date') }}

),

final as (

    select
        activity_month,
        interaction_type,
        {{ seconds_bucket('session_seconds') }} as seconds_bucket,
        count(*) as sessions,
        sum(exact_seconds) as total_seconds,
        sum(exact_seconds * exact_seconds) as squared_seconds,
        min(session_seconds) as shortest_seconds,
        max(session_seconds) as longest_seconds
    from sessions
    group by activity_month, interaction_type, {{ seconds_bucket('session_seconds') }}

)

select * from final
