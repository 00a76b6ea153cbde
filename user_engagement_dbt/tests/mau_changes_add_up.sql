-- mau(d) = mau(d - 1) + new + resurrected - churned, exactly, and mau before the first day is zero.
{{ config(meta={'dagster': {'ref': {'name': 'active_users_daily'}}}) }}

with daily as (

    select
        *,
        lag(mau, 1, 0) over (partition by segment_name, segment_value order by activity_date) as mau_before
    from {{ ref('active_users_daily') }}

)

select * from daily
where mau <> mau_before + new_users + resurrected_users - churned_users
