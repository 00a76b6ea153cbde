with declared as (

    select count(declared_churn_date) > 0 as is_declared
    from {{ ref('user_history') }}

),

final as (

    select
        users.user_number,
        {{ churn_date('history', 'declared.is_declared') }} as churn_date
    from {{ ref('user_history') }} as history
    inner join {{ ref('users') }} as users on history.user_id = users.user_id
    cross join declared
    cross join {{ ref('complete_weeks') }} as weeks
    where {{ churn_date('history', 'declared.is_declared') }} <= weeks.last_day

)

select * from final
