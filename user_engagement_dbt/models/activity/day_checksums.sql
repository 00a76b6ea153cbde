{%- set columns = ['user_number', 'segment_cell', 'signup_date', 'activity_date', 'sessions', 'session_seconds'] -%}

-- Equal sums of hashes mean equal rows, whatever their order: they say which months have changed since they were built.
with final as (

    select
        activity_date,
        count(*) as users,
        {{ sum_of_hashes(columns + (['sessions_day_before'] if days_before_signup() else [])) }} as hash_sum
    from {{ ref('counted_days') }}
    group by activity_date

)

select * from final
