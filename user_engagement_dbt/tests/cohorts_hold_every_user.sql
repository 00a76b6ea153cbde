-- Every user in scope is in exactly one cohort.
{{ config(meta={'dagster': {'ref': {'name': 'cohort_retention'}}}) }}

with cohorts as (

    select
        signup_month,
        cohort_size
    from {{ ref('cohort_retention') }}
    where segment_name = 'all' and period_kind = 'calendar_month' and period_number = 0

),

users as (

    select
        signup_month,
        count(*) as users
    from {{ ref('users') }}
    where in_scope and {{ in_window('signup_month') }}
    group by signup_month

)

select users.* from users
left join cohorts on users.signup_month = cohorts.signup_month
where users.users <> coalesce(cohorts.cohort_size, 0)
