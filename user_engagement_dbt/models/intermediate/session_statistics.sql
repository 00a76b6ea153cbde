with totals as (

    select
        month,
        interaction_type,
        sum(case when seconds_bucket is null then 0 else sessions end) as sessions,
        sum(total_seconds) as total_seconds,
        sum(squared_seconds) as squared_seconds,
        sum(case when seconds_bucket is null then sessions else 0 end) as excluded_sessions
    from {{ ref('session_distribution') }}
    group by month, interaction_type

),

spread as (

    select
        month,
        interaction_type
        {%- for name in ['median_low', 'median_high', 'p90_low', 'p90_high', 'median_ci_low', 'median_ci_high'] %},
        max(case when quantile = '{{ name }}' then session_seconds end) as {{ name }}
        {%- endfor %}
    from {{ ref('session_quantiles') }}
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
