with judged as (

    select
        days.user_number,
        days.unknown_user_id,
        days.activity_date,
        days.sessions,
        case
            when users.user_number is null then 'orphan'
            when days.activity_date < users.signup_date then 'before_signup'
            when days.activity_date > horizon.as_of then 'after_as_of'
        end as reason
    from {{ ref('identified_days') }} as days
    left join {{ ref('users') }} as users on days.user_number = users.user_number
    cross join {{ ref('horizon') }} as horizon

),

final as (

    select
        coalesce(judged.unknown_user_id, numbered.user_id) as user_id,
        judged.activity_date,
        judged.reason,
        judged.sessions
    from judged
    left join {{ ref('user_numbers') }} as numbered on judged.user_number = numbered.user_number
    where judged.reason is not null

)

select * from final
