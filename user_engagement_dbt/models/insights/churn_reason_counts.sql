-- The reason that users gave for their first declared churn.
with ranked as (

    select
        churns.user_id,
        churns.churn_reason,
        churns.churn_date,
        row_number() over (
            partition by churns.user_id order by churns.churned_at, churns._source, churns._row_number
        ) as place
    from {{ ref('stg_churn_data') }} as churns
    inner join {{ ref('users') }} as users on churns.user_id = users.user_id
    cross join {{ ref('complete_weeks') }} as weeks
    where churns.churn_date >= users.signup_date and churns.churn_date <= weeks.last_day

),

final as (

    select
        traits.group_cell,
        {{ week_start('ranked.churn_date') }} as week_start,
        ranked.churn_reason,
        count(*) as users
    from ranked
    inner join {{ ref('users') }} as users on ranked.user_id = users.user_id
    inner join {{ ref('user_traits') }} as traits on users.user_number = traits.user_number
    where ranked.place = 1
    group by traits.group_cell, {{ week_start('ranked.churn_date') }}, ranked.churn_reason

)

select * from final
