-- Who was active in a period is in the next one retained or churned.
{{ config(meta={'dagster': {'ref': {'name': 'growth_accounting'}}}) }}

with periods as (

    select
        *,
        lag(active_users, 1, 0) over (
            partition by segment_name, segment_value, period_kind order by period_start
        ) as active_before
    from {{ ref('growth_accounting') }}

)

select * from periods
where
    active_before <> retained_users + churned_users
    or active_users <> new_users + retained_users + resurrected_users
