{{ config(materialized='ephemeral') }}

-- Only in the few buckets that hold a quantile are durations ranked, and not even there if a bucket knows but one.
with unknown_buckets as (

    select distinct
        month,
        interaction_type,
        seconds_bucket
    from {{ ref('quantile_buckets') }}
    where not is_known

),

-- what each month and type has in them; a bucket without a month or type equals nothing, and stays out
parts as (

    select distinct
        buckets.month,
        buckets.interaction_type,
        buckets.seconds_bucket
    from {{ ref('session_distribution') }} as buckets
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

final as (

    select
        buckets.month,
        buckets.interaction_type,
        buckets.quantile,
        coalesce(
            min(case when buckets.is_known then buckets.shortest_seconds end),
            min(ranked.session_seconds)
        ) as session_seconds
    from {{ ref('quantile_buckets') }} as buckets
    left join ranked_durations as ranked
        on
            buckets.month is not distinct from ranked.month
            and buckets.interaction_type is not distinct from ranked.interaction_type
            and buckets.seconds_bucket = ranked.seconds_bucket
            and buckets.rank_in_bucket <= ranked.sessions_up_to
    group by buckets.month, buckets.interaction_type, buckets.quantile

)

select * from final
