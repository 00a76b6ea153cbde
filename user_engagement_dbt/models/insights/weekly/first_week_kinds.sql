with final as (

    select distinct
        first_week.user_number,
        kinds.interaction_type,
        kinds.device_type
    from {{ ref('active_kinds') }} as first_week
    inner join {{ ref('session_kinds') }} as kinds on first_week.kind_number = kinds.kind_number
    cross join {{ ref('complete_weeks') }} as weeks
    where
        first_week.activity_date <= {{ add_days('first_week.signup_date', 6) }}
        and first_week.activity_date <= weeks.last_day

)

select * from final
