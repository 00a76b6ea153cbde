-- A count of a week depends on the weeks of its month and of the month before, on the traits of everybody who had signed
-- up, on the churns of the month, and on the ends of the history.
with months as (

    select
        {{ month_start('calendar.week_start') }} as week_month,
        horizon.data_start,
        greatest(min(calendar.week_start), weeks.first_monday) as first_monday,
        least(max(calendar.calendar_date), weeks.last_day) as last_day
    from {{ ref('calendar') }} as calendar
    cross join {{ ref('horizon') }} as horizon
    cross join {{ ref('complete_weeks') }} as weeks
    where calendar.week_start <= weeks.last_day
    group by {{ month_start('calendar.week_start') }}, horizon.data_start, weeks.first_monday, weeks.last_day

),

traits as (

    select
        {{ month_start(week_start('signup_date')) }} as week_month,
        {{ sum_of_hashes(['user_number', 'signup_date', 'bucket', 'group_cell']) }} as hash_sum
    from {{ ref('user_traits') }}
    group by {{ month_start(week_start('signup_date')) }}

),

churns as (

    select
        {{ month_start(week_start('churn_date')) }} as week_month,
        {{ sum_of_hashes(['user_number', week_start('churn_date')]) }} as hash_sum
    from {{ ref('user_churns') }}
    group by {{ month_start(week_start('churn_date')) }}

),

parts as (

    {% for months_before in range(2) -%}
    select
        {{ add_months('week_month', months_before) }} as week_month,
        'user_weeks {{ months_before }}' as part,
        week_month as month_of_part,
        cast(built_from as {{ dbt.type_string() }}) as hash_sum
    from {{ ref('user_week_checksums') }}
    union all
    {% endfor -%}
    select
        months.week_month,
        'user_traits' as part,
        traits.week_month as month_of_part,
        traits.hash_sum
    from months
    inner join traits on months.week_month >= traits.week_month
    union all
    select
        week_month,
        'user_churns' as part,
        week_month as month_of_part,
        hash_sum
    from churns

),

final as (

    select
        months.week_month,
        {{ hash63([
            sum_of_hashes(['parts.part', 'parts.month_of_part', 'parts.hash_sum']),
            'months.data_start',
            'months.first_monday',
            'months.last_day',
            "'" ~ code_of_weeks() ~ "'",
        ]) }} as built_from
    from months
    inner join parts on months.week_month = parts.week_month
    group by months.week_month, months.data_start, months.first_monday, months.last_day

)

select * from final
