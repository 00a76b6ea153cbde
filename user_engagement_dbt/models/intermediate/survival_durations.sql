with observed as (

    select
        churns.churn_kind,
        churns.segment_cell,
        cast(coalesce(churns.churn_date, horizon.as_of) - churns.signup_date as integer) as days_since_signup,
        churns.churn_date is not null as is_churned
    from {{ ref('churn_dates') }} as churns
    cross join {{ ref('horizon') }} as horizon

),

final as (

    select
        churn_kind,
        segment_cell,
        days_since_signup,
        is_churned,
        count(*) as users
    from observed
    group by churn_kind, segment_cell, days_since_signup, is_churned

)

select * from final
