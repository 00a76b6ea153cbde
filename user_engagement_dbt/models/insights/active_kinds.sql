{{ config(materialized='ephemeral') }}

-- The sessions of active days by kind: of known users, duplicates taken out.
with duplicates as (

    select
        repeated.user_number,
        repeated.activity_date,
        kinds.kind_number,
        count(*) as sessions
    from {{ ref('duplicate_events') }} as repeated
    inner join {{ ref('session_kinds') }} as kinds
        on repeated.interaction_type = kinds.interaction_type and repeated.device_type = kinds.device_type
    group by repeated.user_number, repeated.activity_date, kinds.kind_number

),

final as (

    select
        users.user_number,
        users.signup_date,
        kinds.activity_date,
        kinds.kind_number,
        kinds.sessions - coalesce(duplicates.sessions, 0) as sessions
    from {{ ref('user_day_kinds') }} as kinds
    left join {{ ref('user_numbers') }} as numbered on kinds.unknown_user_id = numbered.user_id
    inner join {{ ref('users') }} as users
        on coalesce(kinds.user_number, numbered.user_number) = users.user_number
    left join duplicates
        on
            users.user_number = duplicates.user_number
            and kinds.activity_date = duplicates.activity_date
            and kinds.kind_number = duplicates.kind_number
    cross join {{ ref('horizon') }} as horizon
    where
        kinds.activity_date >= users.signup_date
        and kinds.activity_date <= horizon.as_of
        and kinds.sessions > coalesce(duplicates.sessions, 0)

)

select * from final
