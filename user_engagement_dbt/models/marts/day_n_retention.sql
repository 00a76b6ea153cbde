-- what is looked at, in the order of the bits of user_history.active_day_n
with windows as (

    {% for kind, further_days in [('exact', 0), ('bracket_7', 6), ('unbounded', 0)] -%}
    {% set kind_place = loop.index0 -%}
    {% set last_kind = loop.last -%}
    {% for day in day_numbers() -%}
    select
        '{{ kind }}' as retention_kind,
        {{ day }} as day_number,
        {{ day + further_days }} as last_day,
        {{ kind_place * (day_numbers() | length) + loop.index0 }} as place
    {{ 'union all' if not (loop.last and last_kind) }}
    {% endfor %}
    {%- endfor %}
),

members as (

    select
        segment_cell,
        signup_date,
        active_day_n,
        count(*) as users
    from {{ ref('user_history') }}
    where in_scope
    group by segment_cell, signup_date, active_day_n

),

-- a window that holds an outage was not observed; one without an end needs its first day
interrupted as (

    select distinct
        members.signup_date,
        windows.place
    from members
    cross join windows
    inner join {{ ref('outages') }} as outages
        on
            outages.outage_date between {{ add_days('members.signup_date', 'windows.day_number') }}
            and {{ add_days('members.signup_date', 'windows.last_day') }}
            and outages.outage_days > 1

),

observed as (

    select
        members.segment_cell,
        windows.retention_kind,
        windows.day_number,
        case
            when
                {{ add_days('members.signup_date', 'windows.last_day') }} <= horizon.as_of
                and interrupted.place is null
                then members.users
            else 0
        end as eligible_users,
        case when {{ has_bit('members.active_day_n', 'windows.place') }} then 1 else 0 end as is_active
    from members
    cross join windows
    cross join {{ ref('horizon') }} as horizon
    left join interrupted on members.signup_date = interrupted.signup_date and windows.place = interrupted.place

),

cells as (

    select
        segment_cell,
        retention_kind,
        day_number,
        sum(eligible_users) as eligible_users,
        sum(eligible_users * is_active) as retained_users
    from observed
    group by segment_cell, retention_kind, day_number

),

per_segment as (

    select
        segments.segment_name,
        segments.segment_value,
        cells.retention_kind,
        cells.day_number,
        {{ count_of('sum(cells.eligible_users)') }} as eligible_users,
        {{ count_of('sum(cells.retained_users)') }} as retained_users
    from cells
    inner join {{ ref('segment_values') }} as segments on cells.segment_cell = segments.segment_cell
    group by segments.segment_name, segments.segment_value, cells.retention_kind, cells.day_number

),

final as (

    select
        per_segment.*,
        {{ rate('per_segment.retained_users', 'per_segment.eligible_users') }} as retention_rate,
        {{ wilson_low('per_segment.retained_users', 'per_segment.eligible_users') }} as ci_low,
        {{ wilson_high('per_segment.retained_users', 'per_segment.eligible_users') }} as ci_high,
        horizon.as_of as observed_through
    from per_segment
    cross join {{ ref('horizon') }} as horizon

)

select * from final
