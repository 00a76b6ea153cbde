with flows as (

    select
        churn_kind,
        segment_cell,
        signup_month,
        {{ month_start('churn_date') }} as churn_month,
        count(*) as users
    from {{ ref('churn_dates') }}
    group by churn_kind, segment_cell, signup_month, {{ month_start('churn_date') }}

),

changes as (

    select
        churn_kind,
        segment_cell,
        signup_month as month,
        users as signups,
        0 as departures,
        0 as churned_users,
        case when churn_month = signup_month then users else 0 end as churned_same_month
    from flows

    union all

    select
        churn_kind,
        segment_cell,
        churn_month as month,
        0 as signups,
        users as departures,
        case when churn_month > signup_month then users else 0 end as churned_users,
        0 as churned_same_month
    from flows
    where churn_month is not null

),

per_segment as (

    select
        changes.churn_kind,
        segments.segment_name,
        segments.segment_value,
        changes.month
        {%- for column in ['signups', 'departures', 'churned_users', 'churned_same_month'] %},
        sum(changes.{{ column }}) as {{ column }}
        {%- endfor %}
    from changes
    inner join {{ ref('segment_values') }} as segments on changes.segment_cell = segments.segment_cell
    group by changes.churn_kind, segments.segment_name, segments.segment_value, changes.month

),

spine as (

    select
        kinds.churn_kind,
        segments.segment_name,
        segments.segment_value,
        periods.period_start as month,
        periods.is_complete
    from (
        select 'declared' as churn_kind
        union all
        select 'inactive' as churn_kind
    ) as kinds
    cross join {{ ref('segments') }} as segments
    cross join {{ ref('periods') }} as periods
    where periods.period_kind = 'month'

),

-- who signed up before the month, less who churned before it
bases as (

    select
        spine.churn_kind,
        spine.segment_name,
        spine.segment_value,
        spine.month,
        spine.is_complete,
        {{ count_of('per_segment.churned_users') }} as churned_users,
        {{ count_of('per_segment.churned_same_month') }} as churned_same_month,
        {{ count_of(
            'sum(coalesce(per_segment.signups, 0) - coalesce(per_segment.departures, 0)) over ('
            'partition by spine.churn_kind, spine.segment_name, spine.segment_value order by spine.month '
            'rows between unbounded preceding and 1 preceding)'
        ) }} as users_at_start
    from spine
    left join per_segment
        on
            spine.churn_kind = per_segment.churn_kind
            and spine.segment_name = per_segment.segment_name
            and spine.segment_value = per_segment.segment_value
            and spine.month = per_segment.month

),

final as (

    select
        bases.segment_name,
        bases.segment_value,
        bases.churn_kind,
        bases.month,
        bases.users_at_start,
        bases.churned_users,
        {{ rate('bases.churned_users', 'bases.users_at_start') }} as churn_rate,
        {{ wilson_low('bases.churned_users', 'bases.users_at_start') }} as ci_low,
        {{ wilson_high('bases.churned_users', 'bases.users_at_start') }} as ci_high,
        bases.churned_same_month,
        bases.is_complete and bases.month >= horizon.data_start as is_complete,
        horizon.as_of as observed_through
    from bases
    cross join {{ ref('horizon') }} as horizon

)

select * from final
