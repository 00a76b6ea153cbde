{{ config(meta={'window_column': 'signup_month'}) }}

{%- set lapses -%}
coalesce(days.days_until_next, {{ var('inactivity_days') }} + 1) > {{ var('inactivity_days') }}
and {{ add_days('days.activity_date', var('inactivity_days')) }} <= horizon.as_of
{%- endset %}

with users as (

    select * from {{ ref('users') }}
    where {{ in_run_window('signup_month') }}

),

activity as (

    select
        days.user_id,
        min(days.activity_date) as first_active_date,
        max(days.activity_date) as last_active_date,
        count(*) as active_days,
        sum(days.sessions) as sessions,
        max(case when days.days_since_previous > {{ var('inactivity_days') }} then days.activity_date end)
            as last_return_date,
        count(case when {{ lapses }} then 1 end) as lapses,
        min(case when {{ lapses }} then {{ add_days('days.activity_date', var('inactivity_days')) }} end)
            as first_lapse_date,
        -- periods in which the user was active, a bit each
        {%- for kind, period in {
            'calendar_months': month_index('days.activity_date') ~ ' - ' ~ month_index('days.signup_date'),
            'relative_months': months_between('days.signup_date', 'days.activity_date'),
            'days_30': 'floor(days.tenure_days / 30)',
        }.items() %}
        {{ bit_set(period, period ~ ' <= ' ~ retention_bits()) }} as active_{{ kind }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('active_days') }} as days
    inner join users on days.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    group by days.user_id

),

-- the signup day starts the inactivity clock even where nothing happened on it
idle_starts as (

    select
        users.user_id,
        {{ add_days('users.signup_date', var('inactivity_days')) }} as lapse_date
    from users
    left join activity on users.user_id = activity.user_id
    cross join {{ ref('horizon') }} as horizon
    where
        {{ add_days('users.signup_date', var('inactivity_days')) }} <= horizon.as_of
        and coalesce(activity.first_active_date - users.signup_date, {{ var('inactivity_days') }} + 1)
        > {{ var('inactivity_days') }}

),

churns as (

    select
        stg.user_id,
        min(stg.churn_date) as declared_churn_date,
        max(stg.churn_date) as last_declared_churn_date
    from {{ ref('stg_churn_data') }} as stg
    inner join users on stg.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    where stg.churn_date >= users.signup_date and stg.churn_date <= horizon.as_of
    group by stg.user_id

),

-- what counts as coming back: an active day or a later signup row
returns as (

    select days.user_id, days.activity_date as return_date
    from {{ ref('active_days') }} as days
    inner join churns on days.user_id = churns.user_id
    where days.activity_date > churns.declared_churn_date

    union all

    select signups.user_id, signups.signup_date as return_date
    from {{ ref('stg_user_signups') }} as signups
    inner join churns on signups.user_id = churns.user_id
    cross join {{ ref('horizon') }} as horizon
    where signups.signup_date > churns.declared_churn_date and signups.signup_date <= horizon.as_of

),

reactivations as (

    select
        user_id,
        min(return_date) as reactivated_date,
        max(return_date) as last_return_date
    from returns
    group by user_id

),

final as (

    select
        users.user_id,
        {% for attribute in attributes() -%}
        users.{{ attribute }},
        {% endfor -%}
        users.segment_cell,
        users.signup_date,
        users.signup_month,
        users.in_scope,
        activity.first_active_date,
        activity.last_active_date,
        {{ count_of('activity.active_days') }} as active_days,
        {{ count_of('activity.sessions') }} as sessions,
        cast(horizon.as_of - users.signup_date as bigint) as days_since_signup,
        coalesce(activity.active_calendar_months, 0) as active_calendar_months,
        coalesce(activity.active_relative_months, 0) as active_relative_months,
        coalesce(activity.active_days_30, 0) as active_days_30,
        case when users.in_scope then churns.declared_churn_date end as declared_churn_date,
        -- a lapse after the signup day comes before any after an active day
        case
            when users.in_scope then coalesce(idle_starts.lapse_date, activity.first_lapse_date)
        end as inactive_churn_date,
        case
            when users.in_scope
                then {{ count_of('activity.lapses') }} + case when idle_starts.user_id is null then 0 else 1 end
        end as inactive_churn_count,
        case
            when users.in_scope
                then {{ add_days(
                    'coalesce(activity.last_active_date, users.signup_date)', var('inactivity_days')
                ) }} <= horizon.as_of
        end as is_inactive,
        case when users.in_scope then reactivations.reactivated_date end as reactivated_date,
        case
            when
                churns.last_declared_churn_date is not null
                and coalesce(reactivations.last_return_date, churns.declared_churn_date)
                <= churns.last_declared_churn_date
                then 'churned'
            when
                {{ add_days(
                    'coalesce(activity.last_active_date, users.signup_date)', var('inactivity_days')
                ) }} <= horizon.as_of
                then 'dormant'
            when {{ add_days('users.signup_date', var('inactivity_days')) }} > horizon.as_of then 'new'
            when
                coalesce(
                    activity.last_return_date,
                    case when idle_starts.user_id is not null then activity.first_active_date end,
                    reactivations.reactivated_date
                ) > {{ add_days('horizon.as_of', -var('inactivity_days')) }}
                then 'resurrected'
            else 'active'
        end as lifecycle_state,
        horizon.as_of as observed_through
    from users
    left join activity on users.user_id = activity.user_id
    left join idle_starts on users.user_id = idle_starts.user_id
    left join churns on users.user_id = churns.user_id
    left join reactivations on users.user_id = reactivations.user_id
    cross join {{ ref('horizon') }} as horizon

)

select * from final
