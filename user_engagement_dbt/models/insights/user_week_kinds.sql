with final as (

    select
        user_number,
        {{ week_start('activity_date') }} as week_start,
        kind_number,
        cast(sum(sessions) as integer) as sessions
    from {{ ref('active_kinds') }}
    group by user_number, {{ week_start('activity_date') }}, kind_number

)

select * from final
