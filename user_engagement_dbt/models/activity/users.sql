with signups as (

    select stg.*
    from {{ ref('stg_user_signups') }} as stg
    cross join {{ ref('horizon') }} as horizon
    where stg.user_id is not null and stg.signup_date <= horizon.as_of

),

ranked as (

    select
        *,
        row_number() over (partition by user_id order by signed_up_at, _source, _row_number) as signup_number
    from signups

),

first_signups as (

    select
        *,
        min(signup_date) over (
            partition by {% for attribute in attributes() %}{{ attribute }}{{ ', ' if not loop.last }}{% endfor %}
        ) as first_date_of_cell
    from ranked
    where signup_number = 1

),

final as (

    select
        first_signups.user_id,
        user_numbers.user_number,
        {% for attribute in attributes() -%}
        first_signups.{{ attribute }},
        {% endfor -%}
        -- a combination that is new comes after those that are known, and leaves their numbers as they are
        cast(dense_rank() over (
            order by first_signups.first_date_of_cell {%- for attribute in attributes() %}, first_signups.{{ attribute }}{% endfor %}
        ) as integer) as segment_cell,
        first_signups.signup_date,
        {{ month_start('first_signups.signup_date') }} as signup_month,
        first_signups.signup_date >= horizon.data_start as in_scope
    from first_signups
    inner join {{ ref('user_numbers') }} as user_numbers on first_signups.user_id = user_numbers.user_id
    cross join {{ ref('horizon') }} as horizon

)

select * from final
