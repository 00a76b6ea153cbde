-- Sessions that count are those of the buckets, less the quarantined. A null month is all time, a null type all types.
with counted as (

    select
        activity_month as month,
        interaction_type,
        seconds_bucket,
        sessions,
        total_seconds,
        squared_seconds,
        shortest_seconds,
        longest_seconds
    from {{ ref('session_buckets') }}

    union all

    select
        activity_month as month,
        interaction_type,
        {{ seconds_bucket('session_seconds') }} as seconds_bucket,
        -sessions as sessions,
        -total_seconds as total_seconds,
        -squared_seconds as squared_seconds,
        null as shortest_seconds,
        null as longest_seconds
    from {{ ref('quarantined_sessions') }}

),

buckets as (

    select
        month,
        interaction_type,
        seconds_bucket,
        sum(sessions) as sessions,
        sum(total_seconds) as total_seconds,
        sum(squared_seconds) as squared_seconds,
        min(shortest_seconds) as shortest_seconds,
        max(longest_seconds) as longest_seconds
    from counted
    group by month, interaction_type, seconds_bucket
    having sum(sessions) > 0

),

final as (

    select
        month,
        interaction_type,
        seconds_bucket,
        sum(sessions) as sessions,
        sum(total_seconds) as total_seconds,
        sum(squared_seconds) as squared_seconds,
        min(shortest_seconds) as shortest_seconds,
        max(longest_seconds) as longest_seconds
    from buckets
    group by grouping sets ( -- noqa: PRS
        (month, interaction_type, seconds_bucket), (month, seconds_bucket), (seconds_bucket)
    )

)

select * from final
