{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

with sessions as (

    select
        user_numbers.user_number,
        case when user_numbers.user_number is null then stg.user_id end as unknown_user_id,
        stg.activity_date,
        kinds.kind_number
    from {{ ref('stg_user_engagement') }} as stg
    inner join {{ ref('session_kinds') }} as kinds
        on stg.interaction_type = kinds.interaction_type and stg.device_type = kinds.device_type
    left join {{ ref('user_numbers') }} as user_numbers on stg.user_id = user_numbers.user_id
    where stg.user_id is not null and {{ in_run_window('stg.activity_date') }}

),

final as (

    select
        user_number,
        unknown_user_id,
        activity_date,
        kind_number,
        cast(count(*) as integer) as sessions
    from sessions
    group by user_number, unknown_user_id, activity_date, kind_number

)

select * from final
