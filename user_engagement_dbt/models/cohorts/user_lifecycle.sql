{{ config(meta={'window_column': 'signup_month'}) }}

with history as (

    select * from {{ ref('user_history') }}
    where {{ in_run_window('signup_month') }}

),

final as (

    select
        user_id,
        signup_date,
        signup_month,
        {% for attribute in attributes() -%}
        {{ attribute }},
        {% endfor -%}
        first_active_date,
        last_active_date,
        active_days,
        sessions,
        days_since_signup,
        declared_churn_date,
        inactive_churn_date,
        inactive_churn_count,
        is_inactive,
        reactivated_date,
        lifecycle_state,
        observed_through
    from history

)

select * from final
