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
        {{ seconds_bucket('session_seconds') }} as seconds_bucket,
        -- exact, so that they add up to the same sum in whatever order the rows come, and short, as squares are long
        cast(session_seconds - floor(session_seconds) as decimal(7, 6)) as fraction
    from {{ ref('stg_user_engagement') }}
    where user_id is not null and {{ in_run_window('activity_date') }}

),

grouped as (

    select
        activity_month,
        interaction_type,
        seconds_bucket,
        count(*) as sessions,
        sum(fraction) as fractions,
        sum(fraction * fraction) as squared_fractions,
        min(session_seconds) as shortest_seconds,
        max(session_seconds) as longest_seconds
    from sessions
    group by activity_month, interaction_type, seconds_bucket

),

final as (

    select
        activity_month,
        interaction_type,
        seconds_bucket,
        sessions,
        sessions * seconds_bucket + fractions as total_seconds,
        -- (bucket + fraction) squared, summed
        cast(sessions as decimal(38, 0)) * seconds_bucket * seconds_bucket
        + 2 * seconds_bucket * fractions
        + squared_fractions as squared_seconds,
        shortest_seconds,
        longest_seconds
    from grouped

)

select * from final
