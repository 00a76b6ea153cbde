with cells as (

    select distinct
        segment_cell
        {%- for attribute in attributes() %},
        {{ attribute }}
        {%- endfor %}
    from {{ ref('users') }}

),

final as (

    select segment_cell, 'all' as segment_name, 'all' as segment_value from cells
    {% for segment in segments() -%}
    union all
    select segment_cell, '{{ segment }}' as segment_name, {{ segment }} as segment_value from cells
    {% endfor %}
)

select * from final
