-- What users did in each complete Monday week, by group and tenure; and the same for random buckets of users, whose
-- differences show how much users vary by themselves.
with followed as (

    select
        *,
        cast(
            (lead(week_start) over (partition by user_number order by week_start) - week_start) / 7 as integer
        ) as weeks_until_next
    from {{ ref('user_weeks') }}
    where active_days > 0

),

offsets as (

    {% for weeks in [1, 2, 3, 4] -%}
    select {{ weeks }} as weeks {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- a user is recent in the four weeks after an active week, up to the next one
spread as (

    select
        followed.user_number,
        followed.week_start,
        followed.weeks_until_next,
        offsets.weeks
    from followed
    inner join offsets on offsets.weeks <= coalesce(followed.weeks_until_next, 4)

),

measured as (

    select
        user_number,
        week_start,
        1 as active_users,
        active_days,
        sessions,
        session_seconds,
        log_seconds,
        0 as recent_users,
        0 as retained_users,
        0 as active_users_28,
        0 as churned_users,
        0 as days_by_vanished
    from followed

    union all

    select
        user_number,
        {{ add_days('week_start', '7 * weeks') }} as week_start,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        1 as recent_users,
        case when weeks = weeks_until_next then 1 else 0 end as retained_users,
        0 as active_users_28,
        0 as churned_users,
        0 as days_by_vanished
    from spread

    union all

    select
        user_number,
        {{ add_days('week_start', '7 * (weeks - 1)') }} as week_start,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        0 as recent_users,
        0 as retained_users,
        1 as active_users_28,
        0 as churned_users,
        0 as days_by_vanished
    from spread

    union all

    select
        user_number,
        {{ week_start('churn_date') }} as week_start,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        0 as recent_users,
        0 as retained_users,
        0 as active_users_28,
        1 as churned_users,
        0 as days_by_vanished
    from {{ ref('user_traits') }}
    where churn_date is not null

    union all

    select
        user_number,
        week_start,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        0 as recent_users,
        0 as retained_users,
        0 as active_users_28,
        0 as churned_users,
        all_active_days - active_days as days_by_vanished
    from {{ ref('user_weeks') }}
    where all_active_days > active_days

),

traced as (

    select
        traits.group_cell,
        traits.bucket,
        {{ tenure_weeks(week_start('traits.signup_date'), 'measured.week_start') }} as tenure_weeks,
        measured.*
    from measured
    inner join {{ ref('user_traits') }} as traits on measured.user_number = traits.user_number
    cross join {{ ref('complete_weeks') }} as weeks
    where measured.week_start >= weeks.first_monday and measured.week_start <= weeks.last_day

),

final as (

    {% for cell_kind, cell in {'group': 'group_cell', 'bucket': 'bucket'}.items() -%}
    select
        '{{ cell_kind }}' as cell_kind,
        {{ cell }} as cell,
        tenure_weeks,
        week_start,
        {% for count in [
            'active_users', 'active_days', 'sessions', 'recent_users', 'retained_users', 'active_users_28',
            'churned_users', 'days_by_vanished',
        ] -%}
        {{ count_of('sum(' ~ count ~ ')') }} as {{ count }},
        {% endfor -%}
        sum(session_seconds) as session_seconds,
        sum(log_seconds) as log_seconds
    from traced
    group by {{ cell }}, tenure_weeks, week_start
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
