-- a user's reason is that of the first declared churn; of several rows at that moment the source's first counts
with ranked as (

    select
        history.segment_cell,
        {{ month_start('history.declared_churn_date') }} as month,
        stg.churn_reason,
        row_number() over (
            partition by stg.user_id order by stg.churned_at, stg._source, stg._row_number
        ) as place
    from {{ ref('stg_churn_data') }} as stg
    inner join {{ ref('user_history') }} as history
        on stg.user_id = history.user_id and stg.churn_date = history.declared_churn_date

),

per_segment as (

    select
        segments.segment_name,
        segments.segment_value,
        ranked.month,
        ranked.churn_reason,
        {{ count_of('count(*)') }} as churned_users
    from ranked
    inner join {{ ref('segment_values') }} as segments on ranked.segment_cell = segments.segment_cell
    where ranked.place = 1
    group by segments.segment_name, segments.segment_value, ranked.month, ranked.churn_reason

),

final as (

    select
        per_segment.segment_name,
        per_segment.segment_value,
        per_segment.month,
        per_segment.churn_reason,
        per_segment.churned_users,
        {{ rate(
            'per_segment.churned_users',
            'sum(per_segment.churned_users) over ('
            'partition by per_segment.segment_name, per_segment.segment_value, per_segment.month)'
        ) }} as share,
        horizon.as_of as observed_through
    from per_segment
    cross join {{ ref('horizon') }} as horizon

)

select * from final
