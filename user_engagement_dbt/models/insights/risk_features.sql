-- What was known of active users on some days, and whether they were active in the 28 days that followed.
with cutoffs as (

    {% for days_back in [0, 28, 56, 84] -%}
    select {{ add_days('as_of', -days_back) }} as cutoff from {{ ref('horizon') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- the months that are over 28 days before the first cutoff count as a whole
first_month as (

    select {{ month_start(add_days('min(cutoff)', -28)) }} as month_start from cutoffs

),

earlier as (

    select
        months.user_number,
        min(months.first_active_date) as first_active_date,
        sum(months.active_days) as active_days
    from {{ ref('user_months') }} as months
    cross join first_month
    where months.activity_month < first_month.month_start
    group by months.user_number

),

recent as (

    select
        cutoffs.cutoff,
        days.user_number,
        min(days.signup_date) as signup_date,
        min(case when days.activity_date <= cutoffs.cutoff then days.activity_date end) as first_active_date,
        max(case when days.activity_date <= cutoffs.cutoff then days.activity_date end) as last_active_date,
        count(case when days.activity_date <= cutoffs.cutoff then 1 end) as active_days,
        count(case
            when
                days.activity_date <= cutoffs.cutoff
                and days.activity_date > {{ add_days('cutoffs.cutoff', -28) }}
                then 1
        end) as active_days_28,
        count(case when days.activity_date > cutoffs.cutoff then 1 end) as later_active_days
    from {{ ref('active_days') }} as days
    inner join first_month on days.activity_date >= first_month.month_start
    inner join cutoffs
        on days.activity_date <= {{ add_days('cutoffs.cutoff', 28) }} and days.signup_date <= cutoffs.cutoff
    group by cutoffs.cutoff, days.user_number

),

activity as (

    select
        recent.cutoff,
        recent.user_number,
        recent.signup_date,
        coalesce(earlier.first_active_date, recent.first_active_date) as first_active_date,
        recent.last_active_date,
        cast(recent.active_days + coalesce(earlier.active_days, 0) as bigint) as active_days,
        recent.active_days_28,
        recent.later_active_days
    from recent
    left join earlier on recent.user_number = earlier.user_number
    -- so that the day that was last before the cutoff is one of the recent
    where recent.active_days_28 > 0

),

final as (

    select
        activity.cutoff,
        activity.user_number,
        users.segment_cell,
        cast(activity.cutoff - activity.last_active_date as integer) as days_since_last_active,
        cast(activity.last_active_date - activity.first_active_date as integer) as active_span_days,
        cast(activity.cutoff - activity.signup_date as integer) as tenure_days,
        activity.active_days,
        activity.active_days_28,
        case when activity.cutoff < horizon.as_of then activity.later_active_days = 0 end as is_inactive_later
    from activity
    inner join {{ ref('users') }} as users on activity.user_number = users.user_number
    cross join {{ ref('horizon') }} as horizon

)

select * from final
