{{ config(materialized='view') }}

with final as (

    select
        users.user_id,
        days.activity_date,
        {{ count_of('days.sessions') }} as sessions,
        cast(days.session_seconds as double) as session_seconds,
        horizon.as_of as observed_through
    from {{ ref('active_days') }} as days
    inner join {{ ref('users') }} as users on days.user_number = users.user_number
    cross join {{ ref('horizon') }} as horizon

)

select * from final
