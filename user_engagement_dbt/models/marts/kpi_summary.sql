with months as (

    select
        max(period_start) as current_month,
        {{ add_months('max(period_start)', -1) }} as previous_month
    from {{ ref('periods') }}
    where period_kind = 'month' and is_complete

),

-- every KPI is measured twice: for its period and for the one before
month_slots as (

    select 'current' as slot, current_month as month from months
    union all
    select 'previous' as slot, previous_month as month from months

),

day_slots as (

    select 'current' as slot, as_of as through from {{ ref('horizon') }}
    union all
    select 'previous' as slot, {{ add_months('as_of', -1) }} as through from {{ ref('horizon') }}

),

churn as (

    select
        'churn_rate_' || churn.churn_kind as kpi,
        slots.slot,
        churn.churn_rate as value,
        churn.churned_users as numerator,
        churn.users_at_start as denominator,
        churn.ci_low,
        churn.ci_high,
        slots.month as period_start,
        {{ add_days(add_months('slots.month', 1), -1) }} as period_end
    from month_slots as slots
    inner join {{ ref('churn_monthly') }} as churn on slots.month = churn.month
    where churn.segment_name = 'all'

),

retained as (

    {% for k in [1, 6] -%}
    select
        'retention_{{ k }}_month' as kpi,
        slots.slot,
        count(*) as denominator,
        count(case when {{ has_bit('history.active_relative_months', k) }} then 1 end) as numerator,
        min(history.signup_date) as period_start,
        max(history.signup_date) as period_end
    from day_slots as slots
    inner join {{ ref('user_history') }} as history
        on {{ add_days(add_months('history.signup_date', k + 1), -1) }} <= slots.through
    where history.in_scope
    group by slots.slot
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

retention as (

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

active_users as (

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

user_months as (

    select
        slots.slot,
        slots.month,
        days.user_number,
        count(*) as active_days,
        sum(days.sessions) as sessions
    from month_slots as slots
    inner join {{ ref('active_days') }} as days
        on slots.month <= days.activity_date and {{ add_months('slots.month', 1) }} > days.activity_date
    group by slots.slot, slots.month, days.user_number

),

-- sums of squares of integers are exact, so that the interval does not depend on the order of the rows
per_user as (

    {% for kpi, column in {'sessions_per_user': 'sessions', 'active_days_per_user': 'active_days'}.items() -%}
    select
        '{{ kpi }}' as kpi,
        slot,
        month,
        sum({{ column }}) as numerator,
        count(*) as denominator,
        sum({{ column }} * {{ column }}) as squares
    from user_months
    group by slot, month
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

frequency as (

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
        {{ add_days(add_months('month', 1), -1) }} as period_end
    from per_user

),

average_duration as (

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
        {{ add_days(add_months('slots.month', 1), -1) }} as period_end
    from month_slots as slots
    inner join {{ ref('session_statistics') }} as statistics on slots.month = statistics.month
    where statistics.interaction_type = 'all'

),

median_duration as (

    select
        'median_session_duration' as kpi,
        slots.slot,
        statistics.median_seconds as value,
        cast(null as double) as numerator,
        statistics.sessions as denominator,
        statistics.median_ci_low as ci_low,
        statistics.median_ci_high as ci_high,
        slots.month as period_start,
        {{ add_days(add_months('slots.month', 1), -1) }} as period_end
    from month_slots as slots
    inner join {{ ref('session_statistics') }} as statistics on slots.month = statistics.month
    where statistics.interaction_type = 'all' and statistics.sessions > 0

),

tenures as (

    select
        slots.slot,
        slots.through,
        cast(slots.through - users.signup_date as double) as value,
        count(*) as users
    from day_slots as slots
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
median_tenure as (

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

measured as (

    {% for measures in ['churn', 'retention', 'active_users', 'frequency', 'average_duration', 'median_duration', 'median_tenure'] -%}
    select
        kpi,
        slot,
        value,
        cast(numerator as double) as numerator,
        cast(denominator as bigint) as denominator,
        ci_low,
        ci_high,
        period_start,
        period_end
    from {{ measures }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

definitions as (

    {% for entry in kpi_definitions() -%}
    select
        '{{ entry.kpi }}' as kpi,
        '{{ entry.label }}' as label,
        '{{ entry.unit }}' as unit,
        '{{ entry.definition }}' as definition
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

final as (

    select
        definitions.kpi,
        definitions.label,
        current_values.value,
        definitions.unit,
        current_values.numerator,
        current_values.denominator,
        current_values.ci_low,
        current_values.ci_high,
        current_values.period_start,
        current_values.period_end,
        previous_values.value as previous_value,
        current_values.value - previous_values.value as change,
        definitions.definition,
        horizon.as_of as observed_through
    from definitions
    left join measured as current_values
        on definitions.kpi = current_values.kpi and current_values.slot = 'current'
    left join measured as previous_values
        on definitions.kpi = previous_values.kpi and previous_values.slot = 'previous'
    cross join {{ ref('horizon') }} as horizon

)

select * from final
