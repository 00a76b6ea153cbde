with final as (

    select
        days.activity_date,
        kinds.device_type,
        kinds.interaction_type,
        {{ count_of('sum(days.sessions)') }} as sessions
    from {{ ref('active_kinds') }} as days
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    cross join {{ ref('complete_weeks') }} as weeks
    where days.activity_date <= weeks.last_day
    group by days.activity_date, kinds.device_type, kinds.interaction_type

)

select * from final
