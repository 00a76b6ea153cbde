{{ config(materialized='ephemeral') }}

-- An id without a number when its month was built may have signed up since.
with final as (

    select
        coalesce(days.user_number, numbered.user_number) as user_number,
        days.unknown_user_id,
        days.activity_date,
        days.sessions,
        days.session_seconds
    from {{ ref('user_days') }} as days
    left join {{ ref('user_numbers') }} as numbered on days.unknown_user_id = numbered.user_id

)

select * from final
