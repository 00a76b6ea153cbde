with starts as (

    select
        days.user_number,
        max(case when days.activity_date - days.signup_date between 1 and 6 then 1 else 0 end) as is_activated,
        count(case when days.activity_date - days.signup_date between 1 and 28 then 1 end) as early_active_days
    from {{ ref('active_days') }} as days
    cross join {{ ref('complete_weeks') }} as weeks
    where days.activity_date - days.signup_date <= 28 and days.activity_date <= weeks.last_day
    group by days.user_number

),

signups as (

    select
        traits.group_cell,
        traits.bucket,
        {{ week_start('traits.signup_date') }} as signup_week,
        coalesce(starts.is_activated, 0) as is_activated,
        coalesce(starts.early_active_days, 0) as early_active_days
    from {{ ref('user_traits') }} as traits
    left join starts on traits.user_number = starts.user_number

),

final as (

    {% for cell_kind, cell in {'group': 'group_cell', 'bucket': 'bucket'}.items() -%}
    select
        '{{ cell_kind }}' as cell_kind,
        {{ cell }} as cell,
        signup_week,
        count(*) as signups,
        {{ count_of('sum(is_activated)') }} as activated_users,
        {{ count_of('sum(early_active_days)') }} as early_active_days
    from signups
    group by {{ cell }}, signup_week
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
