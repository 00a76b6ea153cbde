-- A table: what is known of a day is looked up, once for each active day.
with days as (

    select {{ add_days('horizon.first_day', 'numbers.number') }} as calendar_date
    from {{ ref('horizon') }} as horizon
    inner join {{ ref('numbers') }} as numbers on numbers.number <= horizon.as_of - horizon.first_day

),

final as (

    select
        calendar_date,
        {{ week_start('calendar_date') }} as week_start,
        {{ month_start('calendar_date') }} as month_start,
        {{ month_index('calendar_date') }} as month_index,
        cast(extract(day from calendar_date) as integer) as day_of_month,
        cast(extract(day from {{ dbt.last_day('calendar_date', 'month') }}) as integer) as days_in_month
    from days

)

select * from final
