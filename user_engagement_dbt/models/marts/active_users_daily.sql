{%- set windows = {'wau': 7, 'mau': var('active_window_days')} %}

-- Gap sweep: a user is active in the `w` days that end on day x from an active day d until d + w - 1, so the
-- state opens where the gap before d exceeds w, and closes w days after the active day before such a gap, or the last.
with changes as (

    select
        segment_cell,
        activity_date as calendar_date,
        sum(users) as dau,
        {%- for name, days in windows.items() %}
        sum(case when coalesce(days_since_previous, {{ days }} + 1) > {{ days }} then users else 0 end)
            as {{ name }}_opened,
        {%- endfor %}
        sum(case when days_since_previous is null then users else 0 end) as new_users,
        {%- for name in windows %}
        0 as {{ name }}_closed{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('activity_gaps') }}
    group by segment_cell, activity_date

    {% for name, days in windows.items() -%}
    {% for gaps, active_day, closes in [
        ('activity_gaps', add_days('activity_date', '-days_since_previous'), 'days_since_previous > ' ~ days),
        ('last_active_days', 'activity_date', 'true'),
    ] -%}
    union all

    select
        segment_cell,
        {{ add_days(active_day, days) }} as calendar_date,
        0 as dau,
        {%- for other in windows %}
        0 as {{ other }}_opened,
        {%- endfor %}
        0 as new_users,
        {%- for other in windows %}
        {{ 'sum(users)' if other == name else '0' }} as {{ other }}_closed{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref(gaps) }}
    where {{ closes }}
    group by segment_cell, {{ add_days(active_day, days) }}
    {% endfor -%}
    {% endfor %}
),

per_segment as (

    select
        segments.segment_name,
        segments.segment_value,
        changes.calendar_date
        {%- for column in ['dau', 'new_users', 'wau_opened', 'wau_closed', 'mau_opened', 'mau_closed'] %},
        sum(changes.{{ column }}) as {{ column }}
        {%- endfor %}
    from changes
    inner join {{ ref('segment_values') }} as segments on changes.segment_cell = segments.segment_cell
    group by segments.segment_name, segments.segment_value, changes.calendar_date

),

spine as (

    select
        segments.segment_name,
        segments.segment_value,
        calendar.calendar_date
    from {{ ref('segments') }} as segments
    cross join {{ ref('calendar') }} as calendar

),

running as (

    select
        spine.segment_name,
        spine.segment_value,
        spine.calendar_date,
        {%- for column in ['dau', 'new_users', 'mau_opened', 'mau_closed'] %}
        coalesce(per_segment.{{ column }}, 0) as {{ column }},
        {%- endfor %}
        {%- for name in windows %}
        sum(coalesce(per_segment.{{ name }}_opened, 0) - coalesce(per_segment.{{ name }}_closed, 0)) over (
            partition by spine.segment_name, spine.segment_value
            order by spine.calendar_date
            rows between unbounded preceding and current row
        ) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from spine
    left join per_segment
        on
            spine.segment_name = per_segment.segment_name
            and spine.segment_value = per_segment.segment_value
            and spine.calendar_date = per_segment.calendar_date

),

-- days that the window of mau shares with an outage
interrupted as (

    select
        calendar.calendar_date,
        max(case when outages.outage_date = calendar.calendar_date then 1 else 0 end) as is_outage
    from {{ ref('calendar') }} as calendar
    inner join {{ ref('outages') }} as outages
        on
            outages.outage_date between
            {{ add_days('calendar.calendar_date', 1 - var('active_window_days')) }} and calendar.calendar_date
            and outages.outage_days > 1
    group by calendar.calendar_date

),

final as (

    select
        running.segment_name,
        running.segment_value,
        running.calendar_date as activity_date,
        case when coalesce(interrupted.is_outage, 0) = 0 then {{ count_of('running.dau') }} end as dau,
        {{ count_of('running.wau') }} as wau,
        {{ count_of('running.mau') }} as mau,
        case when interrupted.is_outage is null then {{ rate('running.dau', 'running.mau') }} end as stickiness,
        {{ count_of('running.new_users') }} as new_users,
        {{ count_of('running.mau_opened - running.new_users') }} as resurrected_users,
        {{ count_of('running.mau_closed') }} as churned_users,
        interrupted.is_outage is null as is_complete,
        horizon.as_of as observed_through
    from running
    left join interrupted on running.calendar_date = interrupted.calendar_date
    cross join {{ ref('horizon') }} as horizon

)

select * from final
