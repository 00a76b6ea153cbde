-- Equal sums of hashes mean equal rows, whatever their order.
with kinds as (

    select
        kind_number,
        {{ hash64(['interaction_type', 'device_type']) }} as kind_hash
    from {{ ref('session_kinds') }}

),

parts as (

    select
        'active_days' as part,
        activity_date,
        hash_sum
    from {{ ref('day_checksums') }}

    union all

    select
        'user_day_kinds' as part,
        days.activity_date,
        {{ sum_of_hashes(['days.user_number', 'days.unknown_user_id', 'days.sessions', 'kinds.kind_hash']) }} as hash_sum
    from {{ ref('user_day_kinds') }} as days
    inner join kinds on days.kind_number = kinds.kind_number
    group by days.activity_date

    union all

    select
        'duplicate_events' as part,
        activity_date,
        {{ sum_of_hashes(['user_number', 'interaction_type', 'device_type']) }} as hash_sum
    from {{ ref('duplicate_events') }}
    group by activity_date

),

final as (

    select
        parts.activity_date,
        {{ sum_of_hashes(['parts.part', 'parts.hash_sum']) }} as hash_sum
    from parts
    cross join {{ ref('complete_weeks') }} as weeks
    where parts.activity_date <= weeks.last_day
    group by parts.activity_date

)

select * from final
