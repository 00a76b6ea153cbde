{%- set windows = {'wau': 7, 'mau': var('active_window_days')} %}

-- Gap sweep: a user is active in the `w` days that end on day x from an active day d until d + w - 1, so the
-- state opens where the gap before d exceeds w and closes on d + w where the gap after d does.
with changes as (

    select
        segment_cell,
        activity_date as calendar_date,
        count(*) as dau,
        {%- for name, days in windows.items() %}
        count(case when coalesce(days_since_previous, {{ days }} + 1) > {{ days }} then 1 end) as {{ name }}_opened,
        {%- endfor %}
        count(case when days_since_previous is null then 1 end) as new_users,
        {%- for name in windows %}
        0 as {{ name }}_closed{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('active_days') }}
    group by segment_cell, activity_date

    {% for name, days in windows.items() -%}
    union all

    select
        segment_cell,
        {{ add_days('activity_date', days) }} as calendar_date,
        0 as dau,
        {%- for other in windows %}
        0 as {{ other }}_opened,
        {%- endfor %}
        0 as new_users,
        {%- for other in windows %}
        {{ 'count(*)' if other == name else '0' }} as {{ other }}_closed{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('active_days') }}
    where coalesce(days_until_next, {{ days }} + 1) > {{ days }}
    group by segment_cell, activity_date
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
    from (select distinct segment_name, segment_value from {{ ref('segment_values') }}) as segments
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

final as (

    select
        running.segment_name,
        running.segment_value,
        running.calendar_date as activity_date,
        {{ count_of('running.dau') }} as dau,
        {{ count_of('running.wau') }} as wau,
        {{ count_of('running.mau') }} as mau,
        {{ rate('running.dau', 'running.mau') }} as stickiness,
        {{ count_of('running.new_users') }} as new_users,
        {{ count_of('running.mau_opened - running.new_users') }} as resurrected_users,
        {{ count_of('running.mau_closed') }} as churned_users,
        horizon.as_of as observed_through
    from running
    cross join {{ ref('horizon') }} as horizon

)

select * from final
