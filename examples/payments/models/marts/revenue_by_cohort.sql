-- Revenue of each signup month, month by month. The payments are a table of the team's own, which the pipeline does not load.
with payments as (

    select
        cast(user_id as varchar) as user_id,
        cast(paid_on as date) as paid_on,
        amount
    from read_csv('{{ env_var("TEAM_PAYMENTS") }}')

),

final as (

    select
        users.signup_month,
        calendar.month_start as month,
        count(distinct payments.user_id) as paying_users,
        sum(payments.amount) as revenue,
        horizon.as_of as observed_through
    from payments
    inner join {{ ref('users') }} as users on payments.user_id = users.user_id
    -- the days that the pipeline observes: no payment after the last complete day
    inner join {{ ref('calendar') }} as calendar on payments.paid_on = calendar.calendar_date
    cross join {{ ref('horizon') }} as horizon
    group by users.signup_month, calendar.month_start, horizon.as_of

)

select * from final
