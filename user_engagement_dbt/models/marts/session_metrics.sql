with final as (

    select
        statistics.month,
        statistics.interaction_type,
        {{ count_of('statistics.sessions') }} as sessions,
        {{ rate('statistics.total_seconds', 'statistics.sessions') }} as average_session_seconds,
        statistics.median_seconds as median_session_seconds,
        statistics.p90_seconds as p90_session_seconds,
        {{ count_of('statistics.excluded_sessions') }} as excluded_sessions,
        horizon.as_of as observed_through
    from {{ ref('session_statistics') }} as statistics
    cross join {{ ref('horizon') }} as horizon
    where statistics.sessions + statistics.excluded_sessions > 0

)

select * from final
