-- Whoever lapsed under the configured definition has an inactive churn date, and the other way round.
{{ config(meta={'dagster': {'ref': {'name': 'lapse_cells'}}}) }}

with lapsed as (

    select coalesce(sum(churned_users), 0) as churned_users
    from {{ ref('lapse_cells') }}
    where inactivity_days = {{ var('inactivity_days') }}

),

churned as (

    select count(inactive_churn_date) as churned_users
    from {{ ref('user_history') }}

)

select lapsed.churned_users
from lapsed
cross join churned
where lapsed.churned_users <> churned.churned_users and {{ var('inactivity_days') }} in (14, 28, 60)
