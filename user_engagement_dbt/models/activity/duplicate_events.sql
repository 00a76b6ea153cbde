-- only rows that no other reason excludes compete for being the first
with ranked as (

    select
        repeated.*,
        users.user_number,
        row_number() over (
            partition by repeated.event_id order by repeated._source, repeated._row_number
        ) as delivery_number
    from {{ ref('repeated_events') }} as repeated
    inner join {{ ref('users') }} as users on repeated.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    where
        repeated.activity_date >= users.signup_date - {{ days_before_signup() }}
        and repeated.activity_date <= horizon.as_of

),

final as (

    select * from ranked
    where delivery_number > 1

)

select * from final
