{%- set quantiles = {
    'median_low': 'floor(0.5 * (sessions - 1)) + 1',
    'median_high': 'ceil(0.5 * (sessions - 1)) + 1',
    'p90_low': 'floor(0.9 * (sessions - 1)) + 1',
    'p90_high': 'ceil(0.9 * (sessions - 1)) + 1',
    'median_ci_low': median_rank_low('sessions'),
    'median_ci_high': median_rank_high('sessions'),
} -%}

-- Sessions that count are those of the buckets, less the quarantined. Quantiles lie in few buckets: only there are
-- durations told apart, and not even there if a bucket knows but one. A null month is all time, a null type all types.
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

grouped as (

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

),

totals as (

    select
        month,
        interaction_type,
        sum(case when seconds_bucket is null then 0 else sessions end) as sessions,
        sum(total_seconds) as total_seconds,
        sum(squared_seconds) as squared_seconds,
        sum(case when seconds_bucket is null then sessions else 0 end) as excluded_sessions
    from grouped
    group by month, interaction_type

),

-- the ranks, from 1, of the durations that make up the quantiles
wanted as (

    {% for name, duration_rank in quantiles.items() -%}
    select
        month,
        interaction_type,
        '{{ name }}' as quantile,
        {{ duration_rank }} as duration_rank
    from totals
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
    from grouped
    where seconds_bucket is not null

),

found_buckets as (

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

),

unknown_buckets as (

    select distinct month, interaction_type, seconds_bucket from found_buckets
    where not is_known

),

-- every month's and type's part of them
parts as (

    select distinct buckets.month, buckets.interaction_type, buckets.seconds_bucket
    from buckets
    inner join unknown_buckets as unknown
        on
            buckets.seconds_bucket = unknown.seconds_bucket
            and buckets.month = coalesce(unknown.month, buckets.month)
            and buckets.interaction_type = coalesce(unknown.interaction_type, buckets.interaction_type)

),

durations as (

    select
        parts.month,
        parts.interaction_type,
        parts.seconds_bucket,
        stg.session_seconds,
        count(*) as sessions
    from {{ ref('stg_user_engagement') }} as stg
    inner join parts
        on
            {{ seconds_bucket('stg.session_seconds') }} = parts.seconds_bucket
            and {{ month_start('stg.activity_date') }} = parts.month
            and stg.interaction_type = parts.interaction_type
    where stg.user_id is not null
    group by parts.month, parts.interaction_type, parts.seconds_bucket, stg.session_seconds

    union all

    select
        parts.month,
        parts.interaction_type,
        parts.seconds_bucket,
        quarantined.session_seconds,
        -quarantined.sessions as sessions
    from {{ ref('quarantined_sessions') }} as quarantined
    inner join parts
        on
            {{ seconds_bucket('quarantined.session_seconds') }} = parts.seconds_bucket
            and quarantined.activity_month = parts.month
            and quarantined.interaction_type = parts.interaction_type

),

grouped_durations as (

    select
        unknown.month,
        unknown.interaction_type,
        unknown.seconds_bucket,
        durations.session_seconds,
        sum(durations.sessions) as sessions
    from durations
    inner join unknown_buckets as unknown
        on
            durations.seconds_bucket = unknown.seconds_bucket
            and durations.month = coalesce(unknown.month, durations.month)
            and durations.interaction_type = coalesce(unknown.interaction_type, durations.interaction_type)
    group by unknown.month, unknown.interaction_type, unknown.seconds_bucket, durations.session_seconds

),

ranked_durations as (

    select
        *,
        sum(sessions) over (
            partition by month, interaction_type, seconds_bucket
            order by session_seconds rows between unbounded preceding and current row
        ) as sessions_up_to
    from grouped_durations

),

picked as (

    select
        found_buckets.month,
        found_buckets.interaction_type,
        found_buckets.quantile,
        coalesce(
            min(case when found_buckets.is_known then found_buckets.shortest_seconds end),
            min(ranked.session_seconds)
        ) as session_seconds
    from found_buckets
    left join ranked_durations as ranked
        on
            found_buckets.month is not distinct from ranked.month
            and found_buckets.interaction_type is not distinct from ranked.interaction_type
            and found_buckets.seconds_bucket = ranked.seconds_bucket
            and found_buckets.rank_in_bucket <= ranked.sessions_up_to
    group by found_buckets.month, found_buckets.interaction_type, found_buckets.quantile

),

spread as (

    select
        month,
        interaction_type
        {%- for name in quantiles %},
        max(case when quantile = '{{ name }}' then session_seconds end) as {{ name }}
        {%- endfor %}
    from picked
    group by month, interaction_type

),

final as (

    select
        totals.month,
        case
            when totals.interaction_type is null then 'all'
            -- a type of that name must not be taken for all of them
            when totals.interaction_type = 'all' then 'all (interaction type)'
            else totals.interaction_type
        end as interaction_type,
        totals.sessions,
        totals.total_seconds,
        {%- set variance -%}
        (
            cast(totals.squared_seconds as double)
            - cast(totals.total_seconds as double) * cast(totals.total_seconds as double) / nullif(totals.sessions, 0)
        ) / nullif(totals.sessions - 1, 0)
        {%- endset %}
        sqrt({{ not_negative(variance) }}) as deviation_seconds,
        {%- for name, share in {'median': 0.5, 'p90': 0.9}.items() %}
        spread.{{ name }}_low + (spread.{{ name }}_high - spread.{{ name }}_low) * cast(
            {{ share }} * (totals.sessions - 1) - floor({{ share }} * (totals.sessions - 1)) as double
        ) as {{ name }}_seconds,
        {%- endfor %}
        spread.median_ci_low,
        spread.median_ci_high,
        totals.excluded_sessions
    from totals
    left join spread
        on
            totals.month is not distinct from spread.month
            and totals.interaction_type is not distinct from spread.interaction_type

)

select * from final
