-- One row of counts per metric, period and combination of traits: what a decomposition needs of the users.
with activity as (

    select
        periods.period,
        days.user_number,
        count(case when days.activity_date >= periods.first_day then 1 end) as active_days,
        max(case when days.activity_date < periods.first_day then 1 else 0 end) as was_active
    from {{ ref('active_days') }} as days
    inner join {{ ref('compared_periods') }} as periods
        on
            days.activity_date >= {{ add_days('periods.first_day', -28) }}
            and days.activity_date <= periods.last_day
    group by periods.period, days.user_number

),

measured as (

    select
        'retention' as metric,
        activity.period,
        activity.user_number,
        case when activity.active_days > 0 then 1 else 0 end as measure
    from activity
    where activity.was_active = 1

    union all

    select
        'frequency' as metric,
        activity.period,
        activity.user_number,
        activity.active_days as measure
    from activity
    where activity.active_days > 0

    union all

    select
        'churn' as metric,
        periods.period,
        traits.user_number,
        case when churns.churn_date <= periods.last_day then 1 else 0 end as measure
    from {{ ref('user_traits') }} as traits
    left join {{ ref('user_churns') }} as churns on traits.user_number = churns.user_number
    inner join {{ ref('compared_periods') }} as periods
        on
            traits.signup_date < periods.first_day
            and (churns.churn_date >= periods.first_day or churns.churn_date is null)
    where traits.in_scope

    {% for metric, measure in {'activation': 'is_activated', 'new_user_retention': 'is_retained'}.items() %}
    union all

    select
        '{{ metric }}' as metric,
        periods.period,
        starts.user_number,
        starts.{{ measure }} as measure
    from {{ ref('user_starts') }} as starts
    inner join {{ ref('compared_periods') }} as periods
        on starts.signup_date >= periods.first_signup_day and starts.signup_date <= periods.last_signup_day
    {% endfor %}
),

traced as (

    select
        measured.metric,
        measured.period,
        traits.segment_cell,
        traits.main_device,
        case
            when measured.metric in ('activation', 'new_user_retention') then 'new'
            else {{ tenure_band('periods.first_day - traits.signup_date') }}
        end as tenure,
        measured.measure
    from measured
    inner join {{ ref('user_traits') }} as traits on measured.user_number = traits.user_number
    inner join {{ ref('compared_periods') }} as periods on measured.period = periods.period

),

final as (

    select
        metric,
        period,
        segment_cell,
        main_device,
        tenure,
        count(*) as users,
        {{ count_of('sum(measure)') }} as total,
        {{ count_of('sum(measure * measure)') }} as squares
    from traced
    group by metric, period, segment_cell, main_device, tenure

)

select * from final
