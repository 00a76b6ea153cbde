with duplicates as (

    select
        user_number,
        activity_date,
        count(*) as sessions,
        coalesce(sum(cast(session_seconds as decimal(18, 6))), 0) as session_seconds
    from {{ ref('duplicate_events') }}
    group by user_number, activity_date

),

days as (

    select
        days.user_number,
        users.signup_date,
        days.activity_date,
        cast(days.sessions - coalesce(duplicates.sessions, 0) as integer) as sessions,
        cast(days.session_seconds - coalesce(duplicates.session_seconds, 0) as decimal(18, 6)) as session_seconds
    from {{ ref('identified_days') }} as days
    inner join {{ ref('users') }} as users on days.user_number = users.user_number
    left join duplicates
        on days.user_number = duplicates.user_number and days.activity_date = duplicates.activity_date
    cross join {{ ref('horizon') }} as horizon
    where
        -- one condition on all of them: as part of the join with users it would cost more than that join
        case
            when days.activity_date between users.signup_date and horizon.as_of
                then days.sessions > coalesce(duplicates.sessions, 0)
            else false
        end

),

final as (

    select
        *,
        cast(
            activity_date - lag(activity_date) over (partition by user_number order by activity_date) as integer
        ) as days_since_previous
    from days

)

select * from final
