{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'average_session_duration': {
        'label': 'Average session duration',
        'unit': 'seconds',
        'desired_direction': 'up',
        'definition': 'Mean duration of the sessions of the last complete month that have a believable one.',
    },
    'median_session_duration': {
        'label': 'Median session duration',
        'unit': 'seconds',
        'desired_direction': 'up',
        'definition': 'Median duration of the sessions of the last complete month that have a believable one; interval from '
            ~ 'order statistics.',
    },
} -%}

with measures as (

    select
        'average_session_duration' as kpi,
        slots.slot,
        {{ rate('statistics.total_seconds', 'statistics.sessions') }} as value,
        cast(statistics.total_seconds as double) as numerator,
        statistics.sessions as denominator,
        -- rounded to what does not depend on the order in which floating-point numbers were added
        {%- for name, sign in {'ci_low': '-', 'ci_high': '+'}.items() %}
        round({{ rate('statistics.total_seconds', 'statistics.sessions') }}
            {{ sign }} {{ z() }} * statistics.deviation_seconds / sqrt(nullif(statistics.sessions, 0)), 6) as {{ name }},
        {%- endfor %}
        slots.month as period_start,
        slots.month_end as period_end
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('session_statistics') }} as statistics on slots.month = statistics.month
    where statistics.interaction_type = 'all'

    union all

    select
        'median_session_duration' as kpi,
        slots.slot,
        statistics.median_seconds as value,
        cast(null as double) as numerator,
        statistics.sessions as denominator,
        statistics.median_ci_low as ci_low,
        statistics.median_ci_high as ci_high,
        slots.month as period_start,
        slots.month_end as period_end
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('session_statistics') }} as statistics on slots.month = statistics.month
    where statistics.interaction_type = 'all' and statistics.sessions > 0

),

{{ kpi_rows(kpis) }}
