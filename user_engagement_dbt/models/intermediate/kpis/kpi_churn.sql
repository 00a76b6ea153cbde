{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'churn_rate_declared': {
        'label': 'Churn rate (declared)',
        'unit': 'rate',
        'desired_direction': 'down',
        'definition': 'Users who cancelled for the first time in the last complete month, among those who had signed up '
            ~ 'before it and not yet cancelled at its start.',
    },
    'churn_rate_inactive': {
        'label': 'Churn rate (inactive)',
        'unit': 'rate',
        'desired_direction': 'down',
        'definition': 'Users who in the last complete month reached ' ~ var('inactivity_days') ~ ' days without activity for '
            ~ 'the first time, among those who had signed up before it and not yet done so at its start.',
    },
} -%}

with measures as (

    select
        'churn_rate_' || churn.churn_kind as kpi,
        slots.slot,
        churn.churn_rate as value,
        churn.churned_users as numerator,
        churn.users_at_start as denominator,
        churn.ci_low,
        churn.ci_high,
        slots.month as period_start,
        slots.month_end as period_end
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('churn_monthly') }} as churn on slots.month = churn.month
    where churn.segment_name = 'all'

),

{{ kpi_rows(kpis) }}
