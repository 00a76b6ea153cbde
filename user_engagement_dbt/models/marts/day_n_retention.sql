with day_numbers as (

    {% for day in [1, 3, 7, 14, 28, 30, 60, 90, 180] -%}
    select {{ day }} as day_number {{ 'union all' if not loop.last }}
    {% endfor %}
),

kinds as (

    select 'exact' as retention_kind, 0 as further_days
    union all
    select 'bracket_7' as retention_kind, 6 as further_days
    union all
    select 'unbounded' as retention_kind, 0 as further_days

),

signup_days as (

    select
        segment_cell,
        signup_date,
        count(*) as users
    from {{ ref('users') }}
    where in_scope
    group by segment_cell, signup_date

),

eligible as (

    select
        kinds.retention_kind,
        day_numbers.day_number,
        segments.segment_name,
        segments.segment_value,
        sum(
            case
                when {{ add_days('days.signup_date', 'day_numbers.day_number + kinds.further_days') }} <= horizon.as_of
                    then days.users
                else 0
            end
        ) as users
    from signup_days as days
    inner join {{ ref('segment_values') }} as segments on days.segment_cell = segments.segment_cell
    cross join day_numbers
    cross join kinds
    cross join {{ ref('horizon') }} as horizon
    group by kinds.retention_kind, day_numbers.day_number, segments.segment_name, segments.segment_value

),

-- few rows per signup day, tenure and gap, however many users
tenures as (

    select
        segment_cell,
        signup_date,
        tenure_days,
        days_since_previous,
        days_until_next is null as is_last,
        count(*) as users
    from {{ ref('active_days') }}
    where in_scope
    group by segment_cell, signup_date, tenure_days, days_since_previous, days_until_next is null

),

-- a user counts once in each window: on the first active day inside it, or on the last active day of all
retained as (

    select
        kinds.retention_kind,
        day_numbers.day_number,
        segments.segment_name,
        segments.segment_value,
        sum(tenures.users) as users
    from tenures
    cross join {{ ref('horizon') }} as horizon
    cross join day_numbers
    inner join kinds
        on
            {{ add_days('tenures.signup_date', 'day_numbers.day_number + kinds.further_days') }} <= horizon.as_of
            and tenures.tenure_days >= day_numbers.day_number
            and case
                when kinds.retention_kind = 'unbounded' then tenures.is_last
                else
                    tenures.tenure_days <= day_numbers.day_number + kinds.further_days
                    and coalesce(tenures.tenure_days - tenures.days_since_previous, -1) < day_numbers.day_number
            end
    inner join {{ ref('segment_values') }} as segments on tenures.segment_cell = segments.segment_cell
    group by kinds.retention_kind, day_numbers.day_number, segments.segment_name, segments.segment_value

),

final as (

    select
        eligible.segment_name,
        eligible.segment_value,
        eligible.retention_kind,
        eligible.day_number,
        {{ count_of('eligible.users') }} as eligible_users,
        {{ count_of('retained.users') }} as retained_users,
        {{ rate('coalesce(retained.users, 0)', 'eligible.users') }} as retention_rate,
        {{ wilson_low('coalesce(retained.users, 0)', 'eligible.users') }} as ci_low,
        {{ wilson_high('coalesce(retained.users, 0)', 'eligible.users') }} as ci_high,
        horizon.as_of as observed_through
    from eligible
    left join retained
        on
            eligible.retention_kind = retained.retention_kind
            and eligible.day_number = retained.day_number
            and eligible.segment_name = retained.segment_name
            and eligible.segment_value = retained.segment_value
    cross join {{ ref('horizon') }} as horizon

)

select * from final
