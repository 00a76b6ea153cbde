{{ config(materialized='ephemeral') }}

with final as (

    select
        stg.user_id,
        stg.activity_date,
        {{ month_start('stg.activity_date') }} as month,
        stg.interaction_type,
        stg.device_type,
        stg.event_id,
        stg.engaged_at,
        stg.session_duration,
        stg.session_seconds,
        stg.further_hash
    from {{ ref('stg_user_engagement') }} as stg
    inner join {{ ref('users') }} as users on stg.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    left join {{ ref('duplicate_events') }} as duplicates
        on
            -- a row number identifies a row within what was loaded at once, which a month is
            stg.activity_date = duplicates.activity_date
            and stg._source = duplicates._source
            and stg._row_number = duplicates._row_number
    where
        stg.activity_date >= users.signup_date
        and stg.activity_date <= horizon.as_of
        and duplicates._source is null

)

select * from final
