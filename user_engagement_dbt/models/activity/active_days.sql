with duplicates as (

    select
        user_id,
        activity_date,
        count(*) as sessions,
        coalesce(sum(cast(session_seconds as decimal(18, 6))), 0) as session_seconds
    from {{ ref('duplicate_events') }}
    group by user_id, activity_date

),

days as (

    select
        user_days.user_id,
        users.segment_cell,
        users.signup_date,
        users.in_scope,
        user_days.activity_date,
        user_days.activity_date - users.signup_date as tenure_days,
        user_days.sessions - coalesce(duplicates.sessions, 0) as sessions,
        user_days.session_seconds - coalesce(duplicates.session_seconds, 0) as session_seconds
    from {{ ref('user_days') }} as user_days
    inner join {{ ref('users') }} as users on user_days.user_id = users.user_id
    left join duplicates
        on user_days.user_id = duplicates.user_id and user_days.activity_date = duplicates.activity_date
    cross join {{ ref('horizon') }} as horizon
    where
        user_days.activity_date >= users.signup_date
        and user_days.activity_date <= horizon.as_of
        and user_days.sessions > coalesce(duplicates.sessions, 0)

),

final as (

    select
        *,
        activity_date - lag(activity_date) over (partition by user_id order by activity_date) as days_since_previous,
        lead(activity_date) over (partition by user_id order by activity_date) - activity_date as days_until_next
    from days

)

select * from final
