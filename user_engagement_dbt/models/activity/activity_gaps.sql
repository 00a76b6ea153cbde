-- All that metrics over calendar days need of users: how long ago they had last been active.
with last_days as (

    select
        user_number,
        max(activity_date) as activity_date
    from {{ ref('active_days') }}
    group by user_number

),

days as (

    select
        days.segment_cell,
        days.activity_date,
        days.days_since_previous,
        days.activity_date = last_days.activity_date as is_last
    from {{ ref('active_days') }} as days
    inner join last_days on days.user_number = last_days.user_number

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
