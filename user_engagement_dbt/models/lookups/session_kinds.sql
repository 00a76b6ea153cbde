{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    pre_hook="{{ drop_unless_incremental(['user_day_kinds']) }}",
) }}

-- A number stands for a combination of interaction and device type wherever there is a row per user and day.
with kinds as (

    select distinct
        interaction_type,
        device_type
    from {{ ref('stg_user_engagement') }}
    where {{ in_run_window('activity_date') }}

),

fresh as (

    select kinds.*
    from kinds
    {%- if is_incremental() %}
    left join {{ this }} as known
        on kinds.interaction_type = known.interaction_type and kinds.device_type = known.device_type
    where known.kind_number is null
    {%- endif %}

),

final as (

    select
        cast(
            row_number() over (order by interaction_type, device_type)
            {%- if is_incremental() %}
            + (select coalesce(max(known.kind_number), 0) from {{ this }} as known)
            {%- endif %} as integer
        ) as kind_number,
        interaction_type,
        device_type
    from fresh

)

select * from final
