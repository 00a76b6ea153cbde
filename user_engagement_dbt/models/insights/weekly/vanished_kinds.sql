-- A device or interaction type of which events stopped: since a week, every week has less than a twentieth of the
-- four weeks before it.
with weeks as (

    select distinct calendar.week_start
    from {{ ref('calendar') }} as calendar
    cross join {{ ref('complete_weeks') }} as complete
    where calendar.week_start >= complete.first_monday and calendar.week_start <= complete.last_day

),

{% for attribute in ['device_type', 'interaction_type'] -%}
{{ attribute }}_weeks as (

    select
        '{{ attribute }}' as attribute,
        kinds.{{ attribute }} as value,
        weeks.week_start,
        coalesce(sum(case when {{ week_start('kinds.activity_date') }} = weeks.week_start then kinds.sessions end), 0)
            as sessions
    from {{ ref('daily_kinds') }} as kinds
    cross join weeks
    group by kinds.{{ attribute }}, weeks.week_start

),

{% endfor -%}
series as (

    select * from device_type_weeks
    union all
    select * from interaction_type_weeks

),

compared as (

    select
        *,
        avg(sessions) over (
            partition by attribute, value order by week_start rows between 4 preceding and 1 preceding
        ) as usual_sessions,
        max(sessions) over (
            partition by attribute, value order by week_start rows between current row and unbounded following
        ) as most_sessions_since,
        row_number() over (partition by attribute, value order by week_start) as week_number
    from series

),

final as (

    select
        attribute,
        value,
        min(week_start) as vanished_week
    from compared
    where week_number > 8 and usual_sessions >= 20 and most_sessions_since < usual_sessions / 20
    group by attribute, value

)

select * from final
