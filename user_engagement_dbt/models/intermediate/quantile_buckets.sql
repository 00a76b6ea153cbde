{%- set quantiles = {
    'median_low': 'floor(0.5 * (sessions - 1)) + 1',
    'median_high': 'ceil(0.5 * (sessions - 1)) + 1',
    'p90_low': 'floor(0.9 * (sessions - 1)) + 1',
    'p90_high': 'ceil(0.9 * (sessions - 1)) + 1',
    'median_ci_low': median_rank_low('sessions'),
    'median_ci_high': median_rank_high('sessions'),
} -%}

-- A quantile is interpolated between two durations: the ranks, from 1, of each, and the bucket that holds it.
with wanted as (

    {% for name, duration_rank in quantiles.items() -%}
    select
        month,
        interaction_type,
        '{{ name }}' as quantile,
        {{ duration_rank }} as duration_rank
    from {{ ref('session_totals') }}
    where sessions > 0
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

ranked_buckets as (

    select
        *,
        sum(sessions) over (
            partition by month, interaction_type
            order by seconds_bucket rows between unbounded preceding and current row
        ) as sessions_up_to
    from {{ ref('session_distribution') }}
    where seconds_bucket is not null

),

final as (

    select
        wanted.month,
        wanted.interaction_type,
        wanted.quantile,
        buckets.seconds_bucket,
        wanted.duration_rank - (buckets.sessions_up_to - buckets.sessions) as rank_in_bucket,
        buckets.shortest_seconds,
        buckets.shortest_seconds = buckets.longest_seconds as is_known
    from wanted
    inner join ranked_buckets as buckets
        on
            wanted.month is not distinct from buckets.month
            and wanted.interaction_type is not distinct from buckets.interaction_type
            and wanted.duration_rank <= buckets.sessions_up_to
            and wanted.duration_rank > buckets.sessions_up_to - buckets.sessions

)

select * from final
