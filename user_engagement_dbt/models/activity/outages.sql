{#- A probability of an empty day below one in a million: minus its logarithm. -#}
{%- set impossible = 13.815510557964274 -%}

-- Days without any row that the days around them make all but impossible. A gap is compared with the same weekdays
-- nearest to it, up to four before and four after. Empty ones among them are outages too, or days off: then the gap
-- is one as well, unless most of them had rows. The rows of a day follow a negative binomial distribution, which is
-- Poisson's where they do not vary more; each side has its own mean, since an outage may change the level.
with days as (

    select
        calendar.calendar_date,
        coalesce(counts.total_rows, 0) as total_rows,
        max(case when counts.total_rows > 0 then calendar.calendar_date end) over (
            order by calendar.calendar_date rows between unbounded preceding and current row
        ) as last_busy_date,
        min(case when counts.total_rows > 0 then calendar.calendar_date end) over (
            order by calendar.calendar_date rows between current row and unbounded following
        ) as next_busy_date
    from {{ ref('calendar') }} as calendar
    left join {{ ref('row_counts') }} as counts on calendar.calendar_date = counts.activity_date

),

sides as (

    select
        empty_days.calendar_date,
        same_weekdays.calendar_date < empty_days.calendar_date as is_before,
        count(*) as days_found,
        count(nullif(same_weekdays.total_rows, 0)) as busy_days,
        avg(cast(nullif(same_weekdays.total_rows, 0) as double)) as mean_rows,
        var_pop(cast(nullif(same_weekdays.total_rows, 0) as double)) as variance_of_rows
    from days as empty_days
    inner join days as same_weekdays
        on
            mod(cast(empty_days.calendar_date - same_weekdays.calendar_date as integer), 7) = 0
            and (
                same_weekdays.calendar_date between
                {{ add_days('empty_days.last_busy_date', -27) }} and empty_days.last_busy_date
                or same_weekdays.calendar_date between
                empty_days.next_busy_date and {{ add_days('empty_days.next_busy_date', 27) }}
            )
    where empty_days.total_rows = 0
    group by empty_days.calendar_date, same_weekdays.calendar_date < empty_days.calendar_date

),

expected as (

    select
        calendar_date,
        sum(mean_rows * busy_days) / nullif(sum(busy_days), 0) as mean_rows,
        coalesce(
            sum(variance_of_rows * busy_days) / nullif(sum(busy_days) - count(*), 0),
            0
        ) as variance_of_rows
    from sides
    where busy_days > 0
    group by calendar_date
    having count(*) = 2 and 2 * sum(busy_days) > sum(days_found)

),

impossible as (

    select
        calendar_date as outage_date,
        {{ add_days('calendar_date', '-row_number() over (order by calendar_date)') }} as first_of_stretch
    from expected
    where
        case
            when variance_of_rows <= mean_rows then mean_rows
            else
                mean_rows * mean_rows / nullif(variance_of_rows - mean_rows, 0)
                * ln(1 + (variance_of_rows - mean_rows) / nullif(mean_rows, 0))
        end > {{ impossible }}

),

final as (

    select
        outage_date,
        {{ count_of('count(*) over (partition by first_of_stretch)') }} as outage_days
    from impossible

)

select * from final
