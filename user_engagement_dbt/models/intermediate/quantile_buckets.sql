{%- set quantiles = {
    'median_low': 'floor(0.5 * (all_sessions - 1)) + 1',
    'median_high': 'ceil(0.5 * (all_sessions - 1)) + 1',
    'p90_low': 'floor(0.9 * (all_sessions - 1)) + 1',
    'p90_high': 'ceil(0.9 * (all_sessions - 1)) + 1',
    'median_ci_low': median_rank_low('all_sessions'),
    'median_ci_high': median_rank_high('all_sessions'),
} -%}

-- A quantile is interpolated between two durations: the ranks, from 1, of each, and the bucket that holds it.
with ranked as (

    select
        month,
        interaction_type,
        seconds_bucket,
        sessions as sessions_in_bucket,
        shortest_seconds,
        longest_seconds,
        sum(sessions) over (partition by month, interaction_type) as all_sessions,
        sum(sessions) over (
            partition by month, interaction_type
            order by seconds_bucket rows between unbounded preceding and current row
        ) as sessions_up_to
    from {{ ref('session_distribution') }}
    where seconds_bucket is not null

),

final as (

    {% for name, duration_rank in quantiles.items() -%}
    select
        month,
        interaction_type,
        '{{ name }}' as quantile,
        seconds_bucket,
        {{ duration_rank }} - (sessions_up_to - sessions_in_bucket) as rank_in_bucket,
        shortest_seconds,
        shortest_seconds = longest_seconds as is_known
    from ranked
    where
        {{ duration_rank }} <= sessions_up_to
        and {{ duration_rank }} > sessions_up_to - sessions_in_bucket
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
