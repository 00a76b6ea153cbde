with quarantined as (

    select
        found.activity_date,
        found.interaction_type,
        found.session_seconds
    from {{ ref('quarantined_rows') }} as found
    inner join {{ ref('quarantined_days') }} as days
        on found.user_id = days.user_id and found.activity_date = days.activity_date

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
