{{ config(meta={'window_column': 'signup_month'}) }}

{%- set has_lapsed -%}
(lapses.last_lapse_date is not null or (activity.last_active_date is null and lapses.idle_start_date is not null))
{%- endset %}

with users as (

    select * from {{ ref('users') }}
    where {{ in_run_window('signup_month') }}

),

activity as (

    select
        months.user_number,
        min(months.first_active_date) as first_active_date,
        max(months.last_active_date) as last_active_date,
        sum(months.active_days) as active_days,
        sum(months.sessions) as sessions
        {%- for kind in ['calendar_months', 'relative_months', 'days_30', 'day_n'] %},
        {{ bit_union('months.active_' ~ kind) }} as active_{{ kind }}
        {%- endfor %}
    from {{ ref('user_months') }} as months
    inner join users on months.user_number = users.user_number
    group by months.user_number

),

long_gaps as (

    {% for gaps in ['active_days', 'gaps_between_months'] -%}
    select
        user_number,
        activity_date,
        days_since_previous
    from {{ ref(gaps) }}
    where days_since_previous > {{ var('inactivity_days') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

ended_lapses as (

    select
        user_number,
        max(activity_date) as last_return_date,
        count(*) as lapses,
        min({{ add_days('activity_date', var('inactivity_days') ~ ' - days_since_previous') }}) as first_lapse_date
    from long_gaps
    group by user_number

),

-- spells without activity that no later active day ends or that no earlier one begins: the signup day starts the
-- inactivity clock even where nothing happened on it
edges as (

    select
        users.user_id,
        case
            when coalesce(activity.first_active_date - users.signup_date, {{ var('inactivity_days') }} + 1)
                > {{ var('inactivity_days') }}
                then {{ add_days('users.signup_date', var('inactivity_days')) }}
        end as idle_start_date,
        {{ add_days('activity.last_active_date', var('inactivity_days')) }} as last_lapse_date
    from users
    left join activity on users.user_number = activity.user_number

),

lapses as (

    select
        edges.user_id,
        case when edges.idle_start_date <= horizon.as_of then edges.idle_start_date end as idle_start_date,
        case when edges.last_lapse_date <= horizon.as_of then edges.last_lapse_date end as last_lapse_date
    from edges
    cross join {{ ref('horizon') }} as horizon

),

churns as (

    select
        users.user_id,
        users.user_number,
        min(stg.churn_date) as declared_churn_date,
        max(stg.churn_date) as last_declared_churn_date
    from {{ ref('stg_churn_data') }} as stg
    inner join users on stg.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    where stg.churn_date >= users.signup_date and stg.churn_date <= horizon.as_of
    group by users.user_id, users.user_number

),

-- what counts as coming back: an active day or a later signup row
returns as (

    select churns.user_id, days.activity_date as return_date
    from {{ ref('active_days') }} as days
    inner join churns on days.user_number = churns.user_number
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
        coalesce(activity.active_day_n, 0) as active_day_n,
        case when users.in_scope then churns.declared_churn_date end as declared_churn_date,
        -- a lapse after the signup day comes before any after an active day
        case
            when users.in_scope
                then coalesce(lapses.idle_start_date, ended_lapses.first_lapse_date, lapses.last_lapse_date)
        end as inactive_churn_date,
        case
            when users.in_scope
                then {{ count_of('ended_lapses.lapses') }}
                    + case when lapses.idle_start_date is null then 0 else 1 end
                    + case when lapses.last_lapse_date is null then 0 else 1 end
        end as inactive_churn_count,
        case when users.in_scope then {{ has_lapsed }} end as is_inactive,
        case when users.in_scope then reactivations.reactivated_date end as reactivated_date,
        case
            when
                churns.last_declared_churn_date is not null
                and coalesce(reactivations.last_return_date, churns.declared_churn_date)
                <= churns.last_declared_churn_date
                then 'churned'
            when {{ has_lapsed }} then 'dormant'
            when {{ add_days('users.signup_date', var('inactivity_days')) }} > horizon.as_of then 'new'
            when
                coalesce(
                    ended_lapses.last_return_date,
                    case when lapses.idle_start_date is not null then activity.first_active_date end,
                    reactivations.reactivated_date
                ) > {{ add_days('horizon.as_of', -var('inactivity_days')) }}
                then 'resurrected'
            else 'active'
        end as lifecycle_state,
        horizon.as_of as observed_through
    from users
    left join activity on users.user_number = activity.user_number
    left join ended_lapses on users.user_number = ended_lapses.user_number
    left join lapses on users.user_id = lapses.user_id
    left join churns on users.user_id = churns.user_id
    left join reactivations on users.user_id = reactivations.user_id
    cross join {{ ref('horizon') }} as horizon

)

select * from final
