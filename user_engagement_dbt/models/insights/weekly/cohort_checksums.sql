-- What is told of users by what they did first, of at most twelve weeks after the first.
with cohorts as (

    select
        users.signup_month,
        horizon.data_start,
        weeks.last_day,
        {{ add_days('greatest(max(users.signup_date), horizon.data_start)', 7 * 12 + 6) }} as followed_to,
        {{ sum_of_hashes(
            ['users.user_number', 'users.user_id', 'users.segment_cell', 'users.signup_date', 'users.in_scope']
        ) }} as hash_sum
    from {{ ref('users') }} as users
    cross join {{ ref('horizon') }} as horizon
    cross join {{ ref('complete_weeks') }} as weeks
    where users.signup_date <= weeks.last_day
    group by users.signup_month, horizon.data_start, weeks.last_day

),

activity as (

    select
        cohorts.signup_month,
        {{ sum_of_hashes(['days.activity_date', 'days.hash_sum']) }} as hash_sum
    from cohorts
    inner join {{ ref('complete_day_checksums') }} as days
        on cohorts.signup_month <= days.activity_date and cohorts.followed_to >= days.activity_date
    group by cohorts.signup_month

),

final as (

    select
        cohorts.signup_month,
        {{ hash63([
            'cohorts.hash_sum',
            'activity.hash_sum',
            'greatest(cohorts.signup_month, cohorts.data_start)',
            'least(cohorts.followed_to, cohorts.last_day)',
            "'" ~ code_of_weeks() ~ "'",
        ]) }} as built_from
    from cohorts
    left join activity on cohorts.signup_month = activity.signup_month

)

select * from final
