-- A month's base is the last one's, less who churned in it, plus who signed up in it and did not churn in it.
{{ config(meta={'dagster': {'ref': {'name': 'churn_monthly'}}}) }}

with signups as (

    select
        segments.segment_name,
        segments.segment_value,
        users.signup_month as month,
        count(*) as users
    from {{ ref('users') }} as users
    inner join {{ ref('segment_values') }} as segments on users.segment_cell = segments.segment_cell
    where users.in_scope
    group by segments.segment_name, segments.segment_value, users.signup_month

),

months as (

    select
        churn.*,
        coalesce(signups.users, 0) as signups,
        lead(churn.users_at_start) over (
            partition by churn.segment_name, churn.segment_value, churn.churn_kind order by churn.month
        ) as users_at_next_start
    from {{ ref('churn_monthly') }} as churn
    left join signups
        on
            churn.segment_name = signups.segment_name
            and churn.segment_value = signups.segment_value
            and churn.month = signups.month

)

select * from months
where users_at_next_start <> users_at_start - churned_users + signups - churned_same_month
