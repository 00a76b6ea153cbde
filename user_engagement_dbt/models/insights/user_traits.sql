with device_sessions as (

    select
        weeks.user_number,
        kinds.device_type,
        sum(weeks.sessions) as sessions
    from {{ ref('user_week_kinds') }} as weeks
    inner join {{ ref('session_kinds') }} as kinds on weeks.kind_number = kinds.kind_number
    group by weeks.user_number, kinds.device_type

),

ranked as (

    select
        user_number,
        device_type,
        row_number() over (partition by user_number order by sessions desc, device_type asc) as place
    from device_sessions

),

churns as (

    select count(declared_churn_date) > 0 as is_declared
    from {{ ref('user_history') }}

),

final as (

    select
        users.user_number,
        users.segment_cell,
        users.signup_date,
        users.in_scope,
        coalesce(ranked.device_type, 'none') as main_device,
        {{ churn_date('history', 'churns.is_declared') }} as churn_date
    from {{ ref('users') }} as users
    inner join {{ ref('user_history') }} as history on users.user_id = history.user_id
    left join ranked on users.user_number = ranked.user_number and ranked.place = 1
    cross join churns

)

select * from final
