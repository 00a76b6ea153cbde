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

    select * from ranked
    where signup_number = 1

),

-- a combination that is new comes after those that are known, and leaves their numbers as they are
cells as (

    select
        {% for attribute in attributes() -%}
        {{ attribute }},
        {% endfor -%}
        cast(row_number() over (
            order by min(signup_date) {%- for attribute in attributes() %}, {{ attribute }}{% endfor %}
        ) as integer) as segment_cell
    from first_signups
    group by {{ attributes() | join(', ') }}

),

final as (

    select
        first_signups.user_id,
        user_numbers.user_number,
        {% for attribute in attributes() -%}
        first_signups.{{ attribute }},
        {% endfor -%}
        cells.segment_cell,
        first_signups.signup_date,
        {{ month_start('first_signups.signup_date') }} as signup_month,
        first_signups.signup_date >= horizon.data_start as in_scope
    from first_signups
    inner join {{ ref('user_numbers') }} as user_numbers on first_signups.user_id = user_numbers.user_id
    inner join cells
        on {% for attribute in attributes() -%}
            first_signups.{{ attribute }} = cells.{{ attribute }} {{- ' and ' if not loop.last }}
        {%- endfor %}
    cross join {{ ref('horizon') }} as horizon

)

select * from final
