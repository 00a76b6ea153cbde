{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'cohort_checksums', 'month_column': 'signup_month'},
) }}

with outdated as (

    {{ outdated_months(ref('cohort_checksums')) }}

),

first_days as (

    {{ first_days(7) }}

),

final as (

    select distinct
        first_week.user_number,
        kinds.interaction_type,
        kinds.device_type,
        outdated.signup_month,
        outdated.built_from
    from {{ ref('active_kinds') }} as first_week
    inner join first_days on first_week.activity_date = first_days.calendar_date
    inner join {{ ref('session_kinds') }} as kinds on first_week.kind_number = kinds.kind_number
    inner join outdated on {{ month_start('first_week.signup_date') }} = outdated.signup_month
    where first_week.activity_date <= {{ add_days('first_week.signup_date', 6) }}

)

select * from final
