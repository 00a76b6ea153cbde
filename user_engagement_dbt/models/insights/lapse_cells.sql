{%- set definitions = [14, 28, 60] -%}

-- A spell without activity begins with the signup day or an active day, and ends with the next active day, if any. The
-- first one that is longer than W days makes the user churn.
with spells as (

    select
        user_number,
        {{ add_days('activity_date', '-days_since_previous') }} as start_date,
        days_since_previous as gap_days
    from {{ ref('active_days') }}
    where days_since_previous > {{ definitions | min }}

    union all

    select
        user_number,
        {{ add_days('activity_date', '-coalesce(days_since_previous, activity_date - signup_date)') }} as start_date,
        coalesce(days_since_previous, activity_date - signup_date) as gap_days
    from {{ ref('gaps_between_months') }}
    where coalesce(days_since_previous, activity_date - signup_date) > {{ definitions | min }}

    union all

    select
        users.user_number,
        coalesce(gaps.last_active_date, users.signup_date) as start_date,
        null as gap_days
    from {{ ref('users') }} as users
    left join {{ ref('gaps_between_months') }} as gaps on users.user_number = gaps.user_number and gaps.is_last

),

definitions as (

    {% for days in definitions -%}
    select {{ days }} as inactivity_days {{ 'union all' if not loop.last }}
    {% endfor %}
),

lapses as (

    select
        definitions.inactivity_days,
        spells.user_number,
        spells.start_date,
        spells.gap_days,
        row_number() over (
            partition by definitions.inactivity_days, spells.user_number order by spells.start_date
        ) as place
    from spells
    cross join {{ ref('horizon') }} as horizon
    inner join definitions
        on
            spells.gap_days > definitions.inactivity_days
            or (
                spells.gap_days is null
                and {{ add_days('spells.start_date', 'definitions.inactivity_days') }} <= horizon.as_of
            )

),

joined as (

    select
        definitions.inactivity_days,
        users.segment_cell,
        lapses.user_number is not null as is_churned,
        coalesce(
            {{ add_days('lapses.start_date', 'definitions.inactivity_days + 28') }} <= horizon.as_of, false
        ) as is_followed,
        coalesce(lapses.gap_days <= definitions.inactivity_days + 28, false) as is_back_soon,
        lapses.gap_days is not null as is_back
    from {{ ref('users') }} as users
    cross join {{ ref('horizon') }} as horizon
    cross join definitions
    left join lapses
        on
            users.user_number = lapses.user_number
            and definitions.inactivity_days = lapses.inactivity_days
            and lapses.place = 1
    where
        users.in_scope and {{ add_days('users.signup_date', 'definitions.inactivity_days') }} <= horizon.as_of

),

final as (

    select
        inactivity_days,
        segment_cell,
        count(*) as users,
        count(case when is_churned then 1 end) as churned_users,
        count(case when is_followed then 1 end) as followed_users,
        count(case when is_followed and is_back_soon then 1 end) as returned_users,
        count(case when is_back then 1 end) as ever_returned_users
    from joined
    group by inactivity_days, segment_cell

)

select * from final
