-- The gap before an active day says how its user stands: it is the user's first day in the period if the previous
-- active day lies in an earlier one, and if that is not the period before, the user was missing in between.
with days as (

    {% for kind, start in {'week': week_start, 'month': month_start}.items() -%}
    select
        '{{ kind }}' as period_kind,
        segment_cell,
        {{ start('activity_date') }} as period_start,
        {{ start(add_days('activity_date', '-days_since_previous')) }} as previous_period,
        sum(users) as active_days
    from {{ ref('activity_gaps') }}
    group by
        segment_cell,
        {{ start('activity_date') }},
        {{ start(add_days('activity_date', '-days_since_previous')) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

shifted as (

    select
        *,
        case when period_kind = 'week' then {{ add_days('period_start', -7) }}
            else {{ add_months('period_start', -1) }} end as period_before,
        case when period_kind = 'week' then {{ add_days('previous_period', 7) }}
            else {{ add_months('previous_period', 1) }} end as period_after_previous
    from days

),

-- the period after that of an active day, where the next one is later or has not come yet
missed as (

    select
        period_kind,
        segment_cell,
        period_after_previous as period_start,
        active_days as users
    from shifted
    where previous_period < period_before

    {% for kind, period_after in {
        'week': add_days(week_start('activity_date'), 7), 'month': add_months(month_start('activity_date'), 1),
    }.items() -%}
    union all

    select
        '{{ kind }}' as period_kind,
        segment_cell,
        {{ period_after }} as period_start,
        users
    from {{ ref('last_active_days') }}
    {% endfor %}
),

changes as (

    select
        period_kind,
        segment_cell,
        period_start,
        sum(active_days) as active_days,
        sum(case when previous_period is null then active_days else 0 end) as new_users,
        sum(case when previous_period = period_before then active_days else 0 end) as retained_users,
        sum(case when previous_period < period_before then active_days else 0 end) as resurrected_users,
        0 as churned_users
    from shifted
    group by period_kind, segment_cell, period_start

    union all

    select
        period_kind,
        segment_cell,
        period_start,
        0 as active_days,
        0 as new_users,
        0 as retained_users,
        0 as resurrected_users,
        sum(users) as churned_users
    from missed
    group by period_kind, segment_cell, period_start

),

per_segment as (

    select
        changes.period_kind,
        segments.segment_name,
        segments.segment_value,
        changes.period_start
        {%- for column in ['active_days', 'new_users', 'retained_users', 'resurrected_users', 'churned_users'] %},
        sum(changes.{{ column }}) as {{ column }}
        {%- endfor %}
    from changes
    inner join {{ ref('segment_values') }} as segments on changes.segment_cell = segments.segment_cell
    group by changes.period_kind, segments.segment_name, segments.segment_value, changes.period_start

),

spine as (

    select
        segments.segment_name,
        segments.segment_value,
        periods.*
    from {{ ref('segments') }} as segments
    cross join {{ ref('activity_periods') }} as periods

),

filled as (

    select
        spine.segment_name,
        spine.segment_value,
        spine.period_kind,
        spine.period_start,
        spine.observed_days,
        spine.is_complete
        {%- for column in ['active_days', 'new_users', 'retained_users', 'resurrected_users', 'churned_users'] %},
        {{ count_of('per_segment.' ~ column) }} as {{ column }}
        {%- endfor %}
    from spine
    left join per_segment
        on
            spine.segment_name = per_segment.segment_name
            and spine.segment_value = per_segment.segment_value
            and spine.period_kind = per_segment.period_kind
            and spine.period_start = per_segment.period_start

),

final as (

    select
        filled.segment_name,
        filled.segment_value,
        filled.period_kind,
        filled.period_start,
        filled.new_users + filled.retained_users + filled.resurrected_users as active_users,
        filled.new_users,
        filled.retained_users,
        filled.resurrected_users,
        filled.churned_users,
        {{ rate('(filled.new_users + filled.resurrected_users)', 'filled.churned_users') }} as quick_ratio,
        {{ rate('filled.active_days', '(filled.new_users + filled.retained_users + filled.resurrected_users)') }}
            as active_days_per_user,
        {{ rate('filled.active_days', 'filled.observed_days') }} as average_dau,
        filled.is_complete,
        horizon.as_of as observed_through
    from filled
    cross join {{ ref('horizon') }} as horizon

)

select * from final
