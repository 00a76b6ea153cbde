{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    pre_hook="{{ drop_unless_incremental(['user_days', 'user_day_kinds']) }}",
) }}

-- A number stands for an id wherever there is a row per active day, and is never given to another id: months that
-- were built at different times agree about it. Built anew, it takes with it what holds the numbers of before.
with ids as (

    select distinct stg.user_id
    from {{ ref('stg_user_signups') }} as stg
    {%- if is_incremental() %}
    left join {{ this }} as known on stg.user_id = known.user_id
    {%- endif %}
    where stg.user_id is not null {%- if is_incremental() %} and known.user_id is null{% endif %}

),

final as (

    select
        user_id,
        cast(
            row_number() over (order by user_id)
            {%- if is_incremental() %}
            + (select coalesce(max(known.user_number), 0) from {{ this }} as known)
            {%- endif %} as integer
        ) as user_number
    from ids

)

select * from final
