{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_month', 'built_from': 'active_days'},
) }}

with outdated as (

    {{ outdated_months(ref('active_days')) }}

),

final as (

    select
        days.user_number,
        days.segment_cell,
        days.signup_date,
        days.activity_month,
        min(days.activity_date) as first_active_date,
        max(days.activity_date) as last_active_date,
        cast(count(*) as integer) as active_days,
        cast(sum(days.sessions) as bigint) as sessions,
        -- periods since signup in which the user was active, a bit each
        {%- for kind, period in {
            'calendar_months': 'on_day.month_index - signup_day.month_index',
            'relative_months': months_between('signup_day', 'on_day'),
        }.items() %}
        {{ bit_union('case when ' ~ period ~ ' <= ' ~ retention_bits() ~ ' then ' ~ bit(period) ~ ' end') }}
            as active_{{ kind }},
        {%- endfor %}
        {{ bit_union('tenures.days_30_bit') }} as active_days_30,
        {{ bit_union('tenures.day_n_bits') }} as active_day_n,
        outdated.built_from
    from {{ ref('active_days') }} as days
    inner join outdated on days.activity_month = outdated.activity_month
    inner join {{ ref('calendar') }} as signup_day on days.signup_date = signup_day.calendar_date
    inner join {{ ref('calendar') }} as on_day on days.activity_date = on_day.calendar_date
    inner join {{ ref('tenures') }} as tenures on days.activity_date - days.signup_date = tenures.tenure_days
    group by
        days.user_number, days.segment_cell, days.signup_date, days.activity_month, outdated.built_from

)

select * from final
