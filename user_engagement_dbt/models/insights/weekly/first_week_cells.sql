-- Who is absent from a behaviour's row did not do it: the row `all` has everybody.
with observed as (

    select
        *,
        {{ month_start('signup_date') }} as signup_month
    from {{ ref('user_starts') }}
    where is_retention_observed

),

behaviours as (

    select 'all' as behaviour, user_number from observed
    {% for behaviour, condition in first_week_behaviours().items() -%}
    union all
    select '{{ behaviour }}' as behaviour, user_number from observed where {{ condition }}
    {% endfor -%}
    union all
    select distinct 'used ' || interaction_type as behaviour, user_number
    from {{ ref('first_week_kinds') }}

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
