-- Complete Monday weeks. `exposure` are those who could, `events` what happened.
with bounds as (

    select
        {{ week_start(add_days('data_start', 6)) }} as first_week,
        {{ add_days(week_start(add_days('as_of', 1)), -7) }} as last_week
    from {{ ref('horizon') }}

),

weeks as (

    select distinct calendar.week_start
    from {{ ref('calendar') }} as calendar
    cross join bounds
    where calendar.week_start >= bounds.first_week and calendar.week_start <= bounds.last_week

),

user_weeks as (

    select
        user_number,
        signup_date,
        {{ week_start('activity_date') }} as week_start,
        count(*) as active_days,
        sum(sessions) as sessions
    from {{ ref('active_days') }}
    group by user_number, signup_date, {{ week_start('activity_date') }}

),

followed as (

    select
        *,
        lead(week_start) over (partition by user_number order by week_start) as next_week
    from user_weeks

),

active as (

    select
        traits.segment_cell,
        traits.main_device,
        {{ tenure_band('followed.week_start - followed.signup_date') }} as tenure,
        followed.week_start,
        followed.week_start < bounds.last_week as is_followed,
        count(*) as users,
        sum(followed.active_days) as active_days,
        sum(followed.sessions) as sessions,
        count(case when followed.next_week = {{ add_days('followed.week_start', 7) }} then 1 end) as retained
    from followed
    inner join {{ ref('user_traits') }} as traits on followed.user_number = traits.user_number
    cross join bounds
    where followed.week_start >= bounds.first_week and followed.week_start <= bounds.last_week
    group by
        traits.segment_cell,
        traits.main_device,
        {{ tenure_band('followed.week_start - followed.signup_date') }},
        followed.week_start,
        followed.week_start < bounds.last_week

),

-- at risk of churning in a week: signed up before it and not yet churned at its start
signups as (

    select
        segment_cell,
        main_device,
        {{ week_start('signup_date') }} as signup_week,
        count(*) as users
    from {{ ref('user_traits') }}
    where in_scope and {{ week_start('signup_date') }} >= (select first_week from bounds)
    group by segment_cell, main_device, {{ week_start('signup_date') }}

),

churned as (

    select
        segment_cell,
        main_device,
        {{ week_start('signup_date') }} as signup_week,
        {{ week_start('churn_date') }} as churn_week,
        count(*) as users
    from {{ ref('user_traits') }}
    where in_scope and churn_date is not null
    group by segment_cell, main_device, {{ week_start('signup_date') }}, {{ week_start('churn_date') }}

),

lives as (

    select
        signups.segment_cell,
        signups.main_device,
        signups.signup_week,
        weeks.week_start,
        signups.users,
        coalesce(churned.users, 0) as churned,
        sum(coalesce(churned.users, 0)) over (
            partition by signups.segment_cell, signups.main_device, signups.signup_week
            order by weeks.week_start
            rows between unbounded preceding and current row
        ) as churned_so_far
    from signups
    inner join weeks on signups.signup_week <= weeks.week_start
    left join churned
        on
            signups.segment_cell = churned.segment_cell
            and signups.main_device = churned.main_device
            and signups.signup_week = churned.signup_week
            and weeks.week_start = churned.churn_week

),

measured as (

    -- a week's retention is of those active in the week before
    select
        'retention' as metric,
        {{ add_days('week_start', 7) }} as week_start,
        segment_cell,
        main_device,
        tenure,
        users as exposure,
        retained as events
    from active
    where is_followed

    union all

    {% for metric, events in {'frequency': 'active_days', 'sessions': 'sessions'}.items() -%}
    select
        '{{ metric }}' as metric,
        week_start,
        segment_cell,
        main_device,
        tenure,
        users as exposure,
        {{ events }} as events
    from active

    union all
    {% endfor %}

    select
        'churn' as metric,
        week_start,
        segment_cell,
        main_device,
        {{ tenure_band('week_start - signup_week') }} as tenure,
        users - churned_so_far + churned as exposure,
        churned as events
    from lives
    where week_start > signup_week

    {% for metric in ['activation', 'new_user_retention'] %}
    union all

    select
        '{{ metric }}' as metric,
        {{ week_start('signup_date') }} as week_start,
        segment_cell,
        main_device,
        'new' as tenure,
        1 as exposure,
        {{ 'is_activated' if metric == 'activation' else 'is_retained' }} as events
    from {{ ref('user_starts') }}
    where
        {% if metric == 'activation' -%}
        {{ add_days(week_start('signup_date'), 12) }} <= (select as_of from {{ ref('horizon') }})
        {%- else -%}
        {{ add_days(week_start('signup_date'), 61) }} <= (select as_of from {{ ref('horizon') }})
        {%- endif %}
        and {{ week_start('signup_date') }} >= (select first_week from bounds)
    {% endfor %}
),

final as (

    select
        metric,
        week_start,
        segment_cell,
        main_device,
        tenure,
        {{ count_of('sum(exposure)') }} as exposure,
        {{ count_of('sum(events)') }} as events
    from measured
    group by metric, week_start, segment_cell, main_device, tenure

)

select * from final
