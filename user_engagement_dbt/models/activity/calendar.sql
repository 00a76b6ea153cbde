{{ config(materialized='ephemeral') }}

with final as (

    select
        {{ add_days('horizon.first_day', 'numbers.number') }} as calendar_date,
        {{ week_start(add_days('horizon.first_day', 'numbers.number')) }} as week_start,
        {{ month_start(add_days('horizon.first_day', 'numbers.number')) }} as month_start
    from {{ ref('horizon') }} as horizon
    inner join {{ ref('numbers') }} as numbers
        on numbers.number <= horizon.as_of - horizon.first_day

)

select * from final
