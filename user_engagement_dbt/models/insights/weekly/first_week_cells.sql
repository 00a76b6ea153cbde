-- Who is absent from a behaviour's row did not do it: the row `all` has everybody.
with observed as (

    select *
    from {{ ref('user_starts') }}
    where is_retention_observed

),

behaviours as (

    {{ users_by_first_week_behaviour('observed') }}

),

final as (

    select
        behaviours.behaviour,
        observed.segment_cell,
        observed.signup_month,
        count(*) as users,
        {{ count_of('sum(observed.is_retained)') }} as retained
    from behaviours
    inner join observed on behaviours.user_number = observed.user_number
    group by behaviours.behaviour, observed.segment_cell, observed.signup_month

)

select * from final
