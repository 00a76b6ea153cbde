{{ config(materialized='ephemeral') }}

-- rows that count and have no event id
with unidentified as (

    select
        {{ hash64([
            'stg.user_id', 'stg.engaged_at', 'stg.session_duration', 'stg.interaction_type', 'stg.device_type',
            'stg.further_hash',
        ]) }} as row_hash
    from {{ ref('stg_user_engagement') }} as stg
    inner join {{ ref('users') }} as users on stg.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    where
        stg.event_id is null
        and stg.activity_date >= users.signup_date
        and stg.activity_date <= horizon.as_of

),

-- neighbours in the order of the hashes: a sort of one number a row costs less than counting each
neighbours as (

    select
        row_hash,
        lag(row_hash) over (order by row_hash) as previous_hash
    from unidentified

),

final as (

    select row_hash
    from neighbours
    where row_hash = previous_hash

)

select * from final
