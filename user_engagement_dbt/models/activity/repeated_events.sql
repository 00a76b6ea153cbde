-- A table of its own, so that the join that follows is planned for the few rows it holds.
with hashed as (

    select {{ hash64(['event_id']) }} as event_hash
    from {{ ref('stg_user_engagement') }}
    where event_id is not null

),

final as (

    select
        event_hash,
        count(*) as deliveries
    from hashed
    group by event_hash
    having count(*) > 1

)

select * from final
