with months as (

    select
        segments.segment_name,
        segments.segment_value,
        cells.month,
        sum(cells.active_users) as active_users,
        sum(cells.active_days) as active_days,
        sum(cells.sessions) as sessions
    from (
        select
            segment_cell,
            activity_month as month,
            count(*) as active_users,
            sum(active_days) as active_days,
            sum(sessions) as sessions
        from {{ ref('user_months') }}
        group by segment_cell, activity_month
    ) as cells
    inner join {{ ref('segment_values') }} as segments on cells.segment_cell = segments.segment_cell
    group by segments.segment_name, segments.segment_value, cells.month

),

-- gaps between active days, counted into the month in which they end
gaps as (

    select
        segments.segment_name,
        segments.segment_value,
        cells.month,
        cells.gap,
        sum(cells.gaps) as gaps
    from (
        select
            segment_cell,
            {{ month_start('activity_date') }} as month,
            days_since_previous as gap,
            sum(users) as gaps
        from {{ ref('activity_gaps') }}
        where days_since_previous is not null
        group by segment_cell, {{ month_start('activity_date') }}, days_since_previous
    ) as cells
    inner join {{ ref('segment_values') }} as segments on cells.segment_cell = segments.segment_cell
    group by segments.segment_name, segments.segment_value, cells.month, cells.gap

),

ranked_gaps as (

    select
        *,
        sum(gaps) over (
            partition by segment_name, segment_value, month
            order by gap rows between unbounded preceding and current row
        ) as gaps_up_to,
        sum(gaps) over (partition by segment_name, segment_value, month) as all_gaps
    from gaps

),

-- the median of a counted distribution: the mean of its two middle values
medians as (

    select
        segment_name,
        segment_value,
        month,
        min(case when 2 * gaps_up_to >= all_gaps then gap end) as lower_median,
        min(case when 2 * gaps_up_to > all_gaps then gap end) as upper_median
    from ranked_gaps
    group by segment_name, segment_value, month

),

spine as (

    select
        segments.segment_name,
        segments.segment_value,
        periods.period_start as month,
        periods.is_complete
    from {{ ref('segments') }} as segments
    cross join {{ ref('activity_periods') }} as periods
    where periods.period_kind = 'month'

),

final as (

    select
        spine.segment_name,
        spine.segment_value,
        spine.month,
        {{ count_of('months.active_users') }} as active_users,
        {{ rate('months.active_days', 'months.active_users') }} as active_days_per_user,
        {{ rate('months.sessions', 'months.active_users') }} as sessions_per_user,
        {{ rate('months.sessions', 'months.active_days') }} as sessions_per_active_day,
        cast((medians.lower_median + medians.upper_median) / 2.0 as double) as median_days_between_active_days,
        spine.is_complete,
        horizon.as_of as observed_through
    from spine
    left join months
        on
            spine.segment_name = months.segment_name
            and spine.segment_value = months.segment_value
            and spine.month = months.month
    left join medians
        on
            spine.segment_name = medians.segment_name
            and spine.segment_value = medians.segment_value
            and spine.month = medians.month
    cross join {{ ref('horizon') }} as horizon

)

select * from final
