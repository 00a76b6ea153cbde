{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

-- rows without an event id that are equal are of one id and day
with hashed as (

    select
        user_id,
        activity_date,
        {{ hash64(['engaged_at', 'session_duration', 'interaction_type', 'device_type', 'further_hash']) }} as row_hash
    from {{ ref('stg_user_engagement') }}
    where event_id is null and user_id is not null and {{ in_run_window('activity_date') }}

),

groups as (

    select
        user_id,
        activity_date,
        row_hash,
        count(*) as found
    from hashed
    group by user_id, activity_date, row_hash
    having count(*) > 1

),

final as (

    select
        user_id,
        activity_date,
        sum(found - 1) as repetitions
    from groups
    group by user_id, activity_date

)

select * from final
