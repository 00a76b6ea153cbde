with final as (

    select
        month,
        case
            when grouping(interaction_type) = 1 then 'all'
            -- a type of that name must not be taken for all of them
            when interaction_type = 'all' then 'all (interaction type)'
            else interaction_type
        end as interaction_type,
        count(session_seconds) as sessions,
        -- decimals add up to the same sum in whatever order the rows come
        sum(cast(session_seconds as decimal(18, 6))) as total_seconds,
        stddev_samp(session_seconds) as deviation_seconds,
        {{ quantiles('session_seconds', {'median_seconds': 0.5, 'p90_seconds': 0.9}) }},
        count(*) - count(session_seconds) as excluded_sessions
    from {{ ref('kept_sessions') }}
    group by grouping sets ((month, interaction_type), (month), ()) -- noqa: PRS

)

select * from final
