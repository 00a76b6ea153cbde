{{ config(materialized='ephemeral') }}

with final as (

    select
        month,
        interaction_type,
        sum(case when seconds_bucket is null then 0 else sessions end) as sessions,
        sum(total_seconds) as total_seconds,
        sum(squared_seconds) as squared_seconds,
        sum(case when seconds_bucket is null then sessions else 0 end) as excluded_sessions
    from {{ ref('session_distribution') }}
    group by month, interaction_type

)

select * from final
