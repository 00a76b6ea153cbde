-- The first active day of each user's month, and how long before it the user had last been active.
with final as (

    select
        user_number,
        segment_cell,
        signup_date,
        first_active_date as activity_date,
        last_active_date,
        cast(
            first_active_date - lag(last_active_date) over (partition by user_number order by activity_month)
            as integer
        ) as days_since_previous,
        lead(activity_month) over (partition by user_number order by activity_month) is null as is_last
    from {{ ref('user_months') }}

)

select * from final
