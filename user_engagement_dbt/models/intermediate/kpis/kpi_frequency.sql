{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'sessions_per_user': {
        'label': 'Sessions per user',
        'unit': 'sessions',
        'desired_direction': 'up',
        'definition': 'Sessions in the last complete month per user active in it.',
    },
    'active_days_per_user': {
        'label': 'Active days per user',
        'unit': 'days',
        'desired_direction': 'up',
        'definition': 'Active days in the last complete month per user active in it.',
    },
} -%}

with user_months as (

    select
        slots.slot,
        slots.month,
        slots.month_end,
        months.active_days,
        months.sessions
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('user_months') }} as months on slots.month = months.activity_month

),

amounts as (

    select
        'sessions_per_user' as kpi,
        slot,
        month,
        month_end,
        sessions as amount
    from user_months

    union all

    select
        'active_days_per_user' as kpi,
        slot,
        month,
        month_end,
        active_days as amount
    from user_months

),

-- sums of squares of integers are exact, so that the interval does not depend on the order of the rows
per_user as (

    select
        kpi,
        slot,
        month,
        month_end,
        sum(amount) as numerator,
        count(*) as denominator,
        sum(amount * amount) as squares
    from amounts
    group by kpi, slot, month, month_end

),

measures as (

    select
        kpi,
        slot,
        {{ rate('numerator', 'denominator') }} as value,
        numerator,
        denominator,
        {%- set variance -%}
        (cast(squares as double) - cast(numerator as double) * numerator / denominator)
        / nullif(denominator - 1, 0) / denominator
        {%- endset %}
        {%- for name, sign in {'ci_low': '-', 'ci_high': '+'}.items() %}
        {{ rate('numerator', 'denominator') }} {{ sign }} {{ z() }} * sqrt({{ not_negative(variance) }})
            as {{ name }},
        {%- endfor %}
        month as period_start,
        month_end as period_end
    from per_user

),

{{ kpi_rows(kpis) }}
