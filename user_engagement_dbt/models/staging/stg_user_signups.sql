with source as (

    select * from {{ source('raw', 'user_signups') }}

),

renamed as (

    select
        -- ids
        user_id,

        -- attributes
        {% for attribute in attributes() -%}
        coalesce({{ attribute }}, 'unknown') as {{ attribute }},
        {% endfor %}
        -- dates
        signup_date as signed_up_at,
        cast(signup_date as date) as signup_date,

        -- lineage
        _source,
        _row_number

    from source

)

select * from renamed
