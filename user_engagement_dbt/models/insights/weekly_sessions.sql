with kinds as (

    select
        weeks.week_start,
        users.segment_cell,
        {{ tenure_band('weeks.week_start - users.signup_date') }} as tenure,
        weeks.kind_number,
        sum(weeks.sessions) as sessions
    from {{ ref('user_week_kinds') }} as weeks
    inner join {{ ref('users') }} as users on weeks.user_number = users.user_number
    group by
        weeks.week_start,
        users.segment_cell,
        {{ tenure_band('weeks.week_start - users.signup_date') }},
        weeks.kind_number

),

final as (

    select
        kinds.week_start,
        kinds.segment_cell,
        kinds.tenure,
        named.device_type,
        named.interaction_type,
        {{ count_of('kinds.sessions') }} as sessions
    from kinds
    inner join {{ ref('session_kinds') }} as named on kinds.kind_number = named.kind_number

)

select * from final
