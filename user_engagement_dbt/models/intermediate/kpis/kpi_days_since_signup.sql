{{ config(materialized='ephemeral') }}

{%- set kpis = {
    'median_days_since_signup': {
        'label': 'Median days since signup',
        'unit': 'days',
        'desired_direction': 'none',
        'definition': 'Median over all users of the days from signup to the last complete day. Previous: the same one month '
            ~ 'earlier.',
    },
} -%}

with tenures as (

    select
        slots.slot,
        slots.through,
        cast(slots.through - users.signup_date as double) as value,
        count(*) as users
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('users') }} as users on slots.through >= users.signup_date
    group by slots.slot, slots.through, users.signup_date

),

ranked_tenures as (

    select
        *,
        sum(users) over (partition by slot order by value rows between unbounded preceding and current row)
            as users_up_to,
        sum(users) over (partition by slot) as n
    from tenures

),

-- the middle, or the mean of the two, and the bounds of its interval are picked by rank
measures as (

    select
        'median_days_since_signup' as kpi,
        slot,
        (
            min(case when users_up_to >= floor((n + 1) / 2.0) then value end)
            + min(case when users_up_to >= ceil((n + 1) / 2.0) then value end)
        ) / 2 as value,
        cast(null as double) as numerator,
        n as denominator,
        min(case when users_up_to >= {{ median_rank_low('n') }} then value end) as ci_low,
        min(case when users_up_to >= {{ median_rank_high('n') }} then value end) as ci_high,
        through as period_start,
        through as period_end
    from ranked_tenures
    group by slot, n, through

),

{{ kpi_rows(kpis) }}
