-- All that metrics over calendar days need of users: how long ago they had last been active.
with final as (

    select
        segment_cell,
        activity_date,
        days_since_previous,
        users
    from {{ ref('gaps_within_months') }}

    union all

    select
        segment_cell,
        activity_date,
        days_since_previous,
        count(*) as users
    from {{ ref('gaps_between_months') }}
    group by segment_cell, activity_date, days_since_previous

)

select * from final
