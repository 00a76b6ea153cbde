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

final as (

    select
        ranked.user_id,
        user_numbers.user_number,
        {% for attribute in attributes() -%}
        ranked.{{ attribute }},
        {% endfor -%}
        cast(dense_rank() over (
            order by {% for attribute in attributes() %}ranked.{{ attribute }}{{ ', ' if not loop.last }}{% endfor %}
        ) as integer) as segment_cell,
        ranked.signup_date,
        {{ month_start('ranked.signup_date') }} as signup_month,
        ranked.signup_date >= horizon.data_start as in_scope
    from ranked
    inner join {{ ref('user_numbers') }} as user_numbers on ranked.user_id = user_numbers.user_id
    cross join {{ ref('horizon') }} as horizon
    where ranked.signup_number = 1

)

select * from final
