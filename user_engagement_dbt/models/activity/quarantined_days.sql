with numbered as (

    select
        numbers.user_number,
        numbers.user_id,
        users.signup_date
    from {{ ref('user_numbers') }} as numbers
    left join {{ ref('users') }} as users on numbers.user_number = users.user_number

),

judged as (

    select
        numbered.user_id,
        days.activity_date,
        case
            when numbered.signup_date is null then 'orphan'
            when days.activity_date < numbered.signup_date - {{ days_before_signup() }} then 'before_signup'
            when days.activity_date > horizon.as_of then 'after_as_of'
        end as reason,
        days.sessions
    from {{ ref('identified_days') }} as days
    inner join numbered on days.user_number = numbered.user_number
    cross join {{ ref('horizon') }} as horizon

),

final as (

    select * from judged
    where reason is not null

    union all

    select
        unknown_user_id as user_id,
        activity_date,
        'orphan' as reason,
        sessions
    from {{ ref('identified_days') }}
    where user_number is null

)

select * from final
