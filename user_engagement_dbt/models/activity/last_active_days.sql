with final as (

    select
        segment_cell,
        last_active_date as activity_date,
        count(*) as users
    from {{ ref('gaps_between_months') }}
    where is_last
    group by segment_cell, last_active_date

)

select * from final
