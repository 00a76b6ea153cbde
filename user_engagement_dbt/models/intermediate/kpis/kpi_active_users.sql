{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'dau': {
        'label': 'Daily active users',
        'unit': 'users',
        'desired_direction': 'up',
        'definition': 'Distinct users active on the last complete day. Previous: the same day a week earlier. An exact count '
            ~ 'has no interval.',
    },
    'wau': {
        'label': 'Weekly active users',
        'unit': 'users',
        'desired_direction': 'up',
        'definition': 'Distinct users active in the last 7 days. Previous: the 7 days before. An exact count has no interval.',
    },
    'mau': {
        'label': 'Monthly active users',
        'unit': 'users',
        'desired_direction': 'up',
        'definition': 'Distinct users active in the last ' ~ var('active_window_days') ~ ' days. Previous: the '
            ~ var('active_window_days') ~ ' days before. An exact count has no interval.',
    },
    'stickiness': {
        'label': 'Stickiness (DAU / MAU)',
        'unit': 'rate',
        'desired_direction': 'up',
        'definition': 'Daily over monthly active users on the last complete day. Previous: the same day a week earlier.',
    },
} -%}

with measures as (

    {% for name, days, back in [
        ('dau', 1, 7), ('wau', 7, 7), ('mau', var('active_window_days'), var('active_window_days')),
    ] -%}
    select
        '{{ name }}' as kpi,
        case when daily.activity_date = horizon.as_of then 'current' else 'previous' end as slot,
        cast(daily.{{ name }} as double) as value,
        daily.{{ name }} as numerator,
        cast(null as bigint) as denominator,
        cast(null as double) as ci_low,
        cast(null as double) as ci_high,
        {{ add_days('daily.activity_date', 1 - days) }} as period_start,
        daily.activity_date as period_end
    from {{ ref('active_users_daily') }} as daily
    cross join {{ ref('horizon') }} as horizon
    where
        daily.segment_name = 'all'
        and daily.activity_date in (horizon.as_of, {{ add_days('horizon.as_of', -back) }})

    union all

    {% endfor -%}
    select
        'stickiness' as kpi,
        case when daily.activity_date = horizon.as_of then 'current' else 'previous' end as slot,
        daily.stickiness as value,
        daily.dau as numerator,
        daily.mau as denominator,
        {{ wilson_low('daily.dau', 'daily.mau') }} as ci_low,
        {{ wilson_high('daily.dau', 'daily.mau') }} as ci_high,
        daily.activity_date as period_start,
        daily.activity_date as period_end
    from {{ ref('active_users_daily') }} as daily
    cross join {{ ref('horizon') }} as horizon
    where
        daily.segment_name = 'all'
        and daily.activity_date in (horizon.as_of, {{ add_days('horizon.as_of', -7) }})

),

{{ kpi_rows(kpis) }}
