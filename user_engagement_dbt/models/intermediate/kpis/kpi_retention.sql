{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'retention_1_month': {
        'label': 'Retention after 1 month',
        'unit': 'rate',
        'desired_direction': 'up',
        'definition': 'Users active between 1 and 2 months after signup, among those whose second month is over. Previous: '
            ~ 'the same one month earlier.',
    },
    'retention_6_month': {
        'label': 'Retention after 6 months',
        'unit': 'rate',
        'desired_direction': 'up',
        'definition': 'Users active between 6 and 7 months after signup, among those whose seventh month is over. Previous: '
            ~ 'the same one month earlier.',
    },
} -%}

with months as (

    select 'retention_1_month' as kpi, 1 as months_after
    union all
    select 'retention_6_month' as kpi, 6 as months_after

),

retained as (

    select
        months.kpi,
        slots.slot,
        count(*) as denominator,
        count(case when {{ has_bit('history.active_relative_months', 'months.months_after') }} then 1 end)
            as numerator,
        min(history.signup_date) as period_start,
        max(history.signup_date) as period_end
    from months
    cross join {{ ref('kpi_periods') }} as slots
    inner join {{ ref('user_history') }} as history
        on {{ add_days(add_months('history.signup_date', 'months.months_after + 1'), -1) }} <= slots.through
    where history.in_scope
    group by months.kpi, slots.slot

),

measures as (

    select
        kpi,
        slot,
        {{ rate('numerator', 'denominator') }} as value,
        numerator,
        denominator,
        {{ wilson_low('numerator', 'denominator') }} as ci_low,
        {{ wilson_high('numerator', 'denominator') }} as ci_high,
        period_start,
        period_end
    from retained

),

{{ kpi_rows(kpis) }}
