with keyed as (

    select
        *,
        {{ hash64(['event_id']) }} as event_hash
    from {{ ref('stg_user_engagement') }}
    where event_id is not null

),

-- only rows that no other reason excludes compete for being the first
candidates as (

    select
        keyed.event_id,
        keyed.user_id,
        keyed.activity_date,
        keyed.session_seconds,
        keyed._source,
        keyed._row_number
    from keyed
    inner join {{ ref('repeated_events') }} as repeated on keyed.event_hash = repeated.event_hash
    inner join {{ ref('users') }} as users on keyed.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    where keyed.activity_date >= users.signup_date and keyed.activity_date <= horizon.as_of

),

ranked as (

    select
        *,
        row_number() over (partition by event_id order by _source, _row_number) as delivery_number
    from candidates

),

final as (

    select
        event_id,
        user_id,
        activity_date,
        session_seconds,
        _source,
        _row_number,
        delivery_number
    from ranked
    where delivery_number > 1

)

select * from final
