{{ config(meta={'window_column': 'signup_month'}) }}

{%- set kinds = {
    'calendar_month': 'active_calendar_months',
    'relative_month': 'active_relative_months',
    'days_30': 'active_days_30',
} %}

with members as (

    select * from {{ ref('user_history') }}
    where in_scope and {{ in_run_window('signup_month') }}

),

signup_days as (

    select
        segment_cell,
        signup_month,
        signup_date,
        count(*) as users
    from members
    group by segment_cell, signup_month, signup_date

),

-- put together by signup month, whole windows alone, before there is a row for each segment
active as (

    {% for kind, bits in kinds.items() -%}
    select
        members.segment_cell,
        members.signup_month,
        '{{ kind }}' as period_kind,
        windows.period_number,
        sum(members.users) as users
    from (
        select
            segment_cell,
            signup_month,
            signup_date,
            {{ bits }},
            count(*) as users
        from members
        group by segment_cell, signup_month, signup_date, {{ bits }}
    ) as members
    inner join {{ ref('retention_windows') }} as windows
        on
            members.signup_date = windows.signup_date
            and windows.period_kind = '{{ kind }}'
            and {{ has_bit('members.' ~ bits, 'windows.period_number') }}
    cross join {{ ref('horizon') }} as horizon
    where windows.period_end <= horizon.as_of
    group by members.segment_cell, members.signup_month, windows.period_number
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

retained as (

    select
        segments.segment_name,
        segments.segment_value,
        active.signup_month,
        active.period_kind,
        active.period_number,
        sum(active.users) as users
    from active
    inner join {{ ref('segment_values') }} as segments on active.segment_cell = segments.segment_cell
    group by
        segments.segment_name,
        segments.segment_value,
        active.signup_month,
        active.period_kind,
        active.period_number

),

segment_days as (

    select
        segments.segment_name,
        segments.segment_value,
        days.signup_month,
        days.signup_date,
        sum(days.users) as users
    from signup_days as days
    inner join {{ ref('segment_values') }} as segments on days.segment_cell = segments.segment_cell
    group by segments.segment_name, segments.segment_value, days.signup_month, days.signup_date

),

-- windows that hold a day of which the source lost everything
interrupted as (

    select distinct
        windows.signup_date,
        windows.period_kind,
        windows.period_number
    from {{ ref('retention_windows') }} as windows
    inner join {{ ref('outages') }} as outages
        on
            outages.outage_date between windows.period_start and windows.period_end
            and outages.outage_days > 1

),

sizes as (

    select
        days.segment_name,
        days.segment_value,
        days.signup_month,
        windows.period_kind,
        windows.period_number,
        horizon.as_of,
        sum(days.users) as cohort_size,
        sum(case when windows.period_end <= horizon.as_of then days.users else 0 end) as eligible_users,
        min(windows.period_start) as first_start,
        count(interrupted.signup_date) as interrupted_days
    from segment_days as days
    inner join {{ ref('retention_windows') }} as windows on days.signup_date = windows.signup_date
    left join interrupted
        on
            windows.signup_date = interrupted.signup_date
            and windows.period_kind = interrupted.period_kind
            and windows.period_number = interrupted.period_number
    cross join {{ ref('horizon') }} as horizon
    group by
        days.segment_name,
        days.segment_value,
        days.signup_month,
        windows.period_kind,
        windows.period_number,
        horizon.as_of

),

cells as (

    select
        sizes.*,
        coalesce(retained.users, 0) as retained_users,
        sizes.eligible_users = sizes.cohort_size and sizes.interrupted_days = 0 as is_complete
    from sizes
    left join retained
        on
            sizes.segment_name = retained.segment_name
            and sizes.segment_value = retained.segment_value
            and sizes.signup_month = retained.signup_month
            and sizes.period_kind = retained.period_kind
            and sizes.period_number = retained.period_number

),

final as (

    select
        segment_name,
        segment_value,
        signup_month,
        period_kind,
        period_number,
        {{ count_of('cohort_size') }} as cohort_size,
        {{ count_of('eligible_users') }} as eligible_users,
        {{ count_of('retained_users') }} as retained_users,
        case when is_complete then {{ rate('retained_users', 'eligible_users') }} end as retention_rate,
        {{ rate('retained_users', 'eligible_users') }} as retention_rate_eligible,
        {{ wilson_low('retained_users', 'eligible_users') }} as ci_low,
        {{ wilson_high('retained_users', 'eligible_users') }} as ci_high,
        is_complete,
        as_of as observed_through
    from cells
    where first_start <= as_of

)

select * from final
