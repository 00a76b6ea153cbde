-- A table of its own, so that the joins that follow are planned for the few rows it holds.
with hashed as (

    select {{ sorting_hash('event_id') }} as event_hash
    from {{ ref('stg_user_engagement') }}
    where event_id is not null

),

-- neighbours in the order of the hashes: a sort of one number a row costs less than counting each
neighbours as (

    select
        event_hash,
        lag(event_hash) over (order by event_hash) as previous_hash
    from hashed

),

final as (

    select
        event_id,
        user_id,
        activity_date,
        interaction_type,
        device_type,
        session_seconds,
        _source,
        _row_number
    from {{ ref('stg_user_engagement') }}
    where
        event_id is not null
        and {{ sorting_hash('event_id') }} in (select event_hash from neighbours where event_hash = previous_hash)

)

select * from final
