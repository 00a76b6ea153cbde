{{ config(materialized='ephemeral') }}

with final as (

    select
        'declared' as churn_kind,
        segment_cell,
        signup_date,
        signup_month,
        declared_churn_date as churn_date
    from {{ ref('user_history') }}
    where in_scope

    union all

    select
        'inactive' as churn_kind,
        segment_cell,
        signup_date,
        signup_month,
        inactive_churn_date as churn_date
    from {{ ref('user_history') }}
    where in_scope

)

select * from final
