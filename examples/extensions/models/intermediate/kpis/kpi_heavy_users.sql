{{ config(materialized='ephemeral') }}

{#- Heavy users: a KPI of a team's own, with its definition and its values in this file. -#}
{%- set kpis = {
    'heavy_user_share': {
        'label': 'Heavy users',
        'unit': 'rate',
        'desired_direction': 'up',
        'definition': "Users with ten active days or more in the last complete month, among that month's active users.",
    },
} -%}

with user_months as (

    select
        slots.slot,
        slots.month,
        slots.month_end,
        days.user_number,
        count(*) as active_days
    from {{ ref('kpi_periods') }} as slots
    inner join {{ ref('active_days') }} as days
        on days.activity_date between slots.month and slots.month_end
    group by slots.slot, slots.month, slots.month_end, days.user_number

),

counts as (

    select
        slot,
        month,
        month_end,
        count(case when active_days >= 10 then 1 end) as heavy_users,
        count(*) as active_users
    from user_months
    group by slot, month, month_end

),

measures as (

    select
        'heavy_user_share' as kpi,
        slot,
        {{ rate('heavy_users', 'active_users') }} as value,
        heavy_users as numerator,
        active_users as denominator,
        {{ wilson_low('heavy_users', 'active_users') }} as ci_low,
        {{ wilson_high('heavy_users', 'active_users') }} as ci_high,
        month as period_start,
        month_end as period_end
    from counts

),

{{ kpi_rows(kpis) }}
