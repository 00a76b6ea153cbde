{%- set places = day_numbers() | length -%}

-- A table: what a number of days since signup means for retention is looked up, once for each active day.
with days as (

    select numbers.number as tenure_days
    from {{ ref('horizon') }} as horizon
    inner join {{ ref('numbers') }} as numbers on numbers.number <= horizon.as_of - horizon.first_day

),

final as (

    select
        tenure_days,
        case when tenure_days < 30 * {{ retention_bits() + 1 }} then {{ bit('floor(tenure_days / 30)') }} else 0 end
            as days_30_bit,
        {% for day in day_numbers() -%}
        case when tenure_days = {{ day }} then {{ bit(loop.index0) }} else 0 end
        + case when tenure_days between {{ day }} and {{ day + 6 }} then {{ bit(places + loop.index0) }} else 0 end
        + case when tenure_days >= {{ day }} then {{ bit(2 * places + loop.index0) }} else 0 end
        {{- ' +' if not loop.last }}
        {% endfor -%}
        as day_n_bits
    from days

)

select * from final
