with final as (

    {% for kind, churn_date in {'declared': 'declared_churn_date', 'inactive': 'inactive_churn_date'}.items() -%}
    select
        '{{ kind }}' as churn_kind,
        history.segment_cell,
        cast(coalesce(history.{{ churn_date }}, horizon.as_of) - history.signup_date as integer) as days_since_signup,
        history.{{ churn_date }} is not null as is_churned,
        count(*) as users
    from {{ ref('user_history') }} as history
    cross join {{ ref('horizon') }} as horizon
    where history.in_scope
    group by
        history.segment_cell,
        cast(coalesce(history.{{ churn_date }}, horizon.as_of) - history.signup_date as integer),
        history.{{ churn_date }} is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
