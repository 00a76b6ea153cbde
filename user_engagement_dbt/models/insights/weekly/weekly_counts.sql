{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'week_count_checksums', 'month_column': 'week_month'},
) }}

-- What users did in each complete Monday week, by group and tenure; and the same for random buckets of users, whose
-- differences show how much users vary by themselves.
with outdated as (

    select distinct
        week_start,
        week_month,
        built_from
    from ({{ outdated_days(ref('week_count_checksums')) }}) as days

),

users as (

    select
        user_number,
        group_cell,
        bucket,
        {{ week_start('signup_date') }} as signup_week
    from {{ ref('user_traits') }}

),

{% if is_incremental() -%}
-- a count looks back four weeks
months as (

    select week_month from outdated
    union
    select {{ add_months('week_month', -1) }} as week_month from outdated

),

{% endif -%}
followed as (

    select
        weeks.*,
        cast((
            lead(weeks.week_start) over (partition by weeks.user_number order by weeks.week_start) - weeks.week_start
        ) / 7 as integer) as weeks_until_next
    from {{ ref('user_weeks') }} as weeks
    {%- if is_incremental() %}
    inner join months on weeks.week_month = months.week_month
    {%- endif %}
    where weeks.active_days > 0

),

measured as (

    select
        user_number,
        week_start,
        least(coalesce(weeks_until_next, 5), 5) as weeks_followed,
        1 as active_users,
        active_days,
        sessions,
        session_seconds,
        log_seconds,
        0 as churned_users,
        0 as days_by_vanished
    from followed

    union all

    select
        churns.user_number,
        outdated.week_start,
        0 as weeks_followed,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        1 as churned_users,
        0 as days_by_vanished
    from {{ ref('user_churns') }} as churns
    inner join outdated on {{ week_start('churns.churn_date') }} = outdated.week_start

    union all

    select
        weeks.user_number,
        weeks.week_start,
        0 as weeks_followed,
        0 as active_users,
        0 as active_days,
        0 as sessions,
        0 as session_seconds,
        0 as log_seconds,
        0 as churned_users,
        weeks.all_active_days - weeks.active_days as days_by_vanished
    from {{ ref('user_weeks') }} as weeks
    inner join outdated on weeks.week_start = outdated.week_start
    where weeks.all_active_days > weeks.active_days

),

-- before weeks are spread: a group has fewer rows than its users
counted as (

    select
        case when grouping(users.group_cell) = 0 then 'group' else 'bucket' end as cell_kind,
        coalesce(users.group_cell, users.bucket) as cell,
        users.signup_week,
        measured.week_start,
        measured.weeks_followed,
        {% for count in [
            'active_users', 'active_days', 'sessions', 'session_seconds', 'log_seconds', 'churned_users', 'days_by_vanished',
        ] -%}
        sum(measured.{{ count }}) as {{ count }}{{ ',' if not loop.last }}
        {% endfor %}
    from measured
    inner join users on measured.user_number = users.user_number
    group by grouping sets ( -- noqa: PRS
        (users.group_cell, users.signup_week, measured.week_start, measured.weeks_followed),
        (users.bucket, users.signup_week, measured.week_start, measured.weeks_followed)
    )

),

offsets as (

    {% for weeks in range(5) -%}
    select {{ weeks }} as weeks {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- a user is recent in the four weeks after an active week, up to the next one
spread as (

    select
        counted.*,
        offsets.weeks,
        {{ add_days('counted.week_start', '7 * offsets.weeks') }} as week_of_count
    from counted
    inner join offsets on counted.weeks_followed >= offsets.weeks

),

final as (

    select
        spread.cell_kind,
        spread.cell,
        {{ tenure_weeks('spread.signup_week', 'spread.week_of_count') }} as tenure_weeks,
        spread.week_of_count as week_start,
        {% for count in ['active_users', 'active_days', 'sessions'] -%}
        {{ count_of('sum(case when spread.weeks = 0 then spread.' ~ count ~ ' end)') }} as {{ count }},
        {% endfor -%}
        {% for count, condition in {
            'recent_users': 'spread.weeks > 0',
            'retained_users': 'spread.weeks = spread.weeks_followed',
            'active_users_28': 'spread.weeks < spread.weeks_followed and spread.weeks < 4',
        }.items() -%}
        {{ count_of('sum(case when ' ~ condition ~ ' then spread.active_users end)') }} as {{ count }},
        {% endfor -%}
        {% for count in ['churned_users', 'days_by_vanished'] -%}
        {{ count_of('sum(case when spread.weeks = 0 then spread.' ~ count ~ ' end)') }} as {{ count }},
        {% endfor -%}
        {% for amount in ['session_seconds', 'log_seconds'] -%}
        sum(case when spread.weeks = 0 then spread.{{ amount }} else 0 end) as {{ amount }},
        {% endfor -%}
        min(outdated.week_month) as week_month,
        min(outdated.built_from) as built_from
    from spread
    inner join outdated on spread.week_of_count = outdated.week_start
    cross join {{ ref('complete_weeks') }} as weeks
    where spread.week_of_count >= weeks.first_monday and spread.week_of_count <= weeks.last_day
    group by
        spread.cell_kind,
        spread.cell,
        {{ tenure_weeks('spread.signup_week', 'spread.week_of_count') }},
        spread.week_of_count
)

select * from final
