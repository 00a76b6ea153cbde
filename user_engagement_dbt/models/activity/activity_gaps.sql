-- All that metrics over calendar days need of users: how long ago they had last been active.
with last_days as (

    select
        user_number,
        max(activity_date) as activity_date
    from {{ ref('active_days') }}
    group by user_number

),

last_of_users as (

    select
        users.user_number,
        users.segment_cell,
        last_days.activity_date
    from last_days
    inner join {{ ref('users') }} as users on last_days.user_number = users.user_number

),

days as (

    select
        last_of_users.segment_cell,
        days.activity_date,
        days.days_since_previous,
        days.activity_date = last_of_users.activity_date as is_last
    from {{ ref('active_days') }} as days
    inner join last_of_users on days.user_number = last_of_users.user_number

),

final as (

    select
        segment_cell,
        activity_date,
        days_since_previous,
        is_last,
        count(*) as users
    from days
    group by segment_cell, activity_date, days_since_previous, is_last

)

select * from final
