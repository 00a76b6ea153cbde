with quarantined as (

    select
        stg.activity_date,
        stg.interaction_type,
        stg.session_seconds
    from {{ ref('stg_user_engagement') }} as stg
    inner join {{ ref('quarantined_days') }} as days
        on stg.user_id = days.user_id and stg.activity_date = days.activity_date

    union all

    select
        activity_date,
        interaction_type,
        session_seconds
    from {{ ref('duplicate_events') }}

),

exact as (

    select
        {{ month_start('activity_date') }} as activity_month,
        interaction_type,
        session_seconds,
        cast(session_seconds as decimal(19, 6)) as exact_seconds
    from quarantined

),

final as (

    select
        activity_month,
        interaction_type,
        session_seconds,
        count(*) as sessions,
        sum(exact_seconds) as total_seconds,
        sum(exact_seconds * exact_seconds) as squared_seconds
    from exact
    group by activity_month, interaction_type, session_seconds

)

select * from final
