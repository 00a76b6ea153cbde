{{ config(materialized='ephemeral') }}

-- The models of this folder see nothing after the last complete week. So they stay as they are until a week ends, or rows
-- of complete weeks change.
with final as (

    select
        {{ week_start(add_days('data_start', 6)) }} as first_monday,
        {{ add_days(week_start(add_days('as_of', 1)), -1) }} as last_day
    from {{ ref('horizon') }}

)

select * from final
