{#-
  The rows of a grain are unique and none of its columns is null (`nullable` ones aside). An incremental model
  names its `window_column`, so that a run checks the window that it replaced.
-#}
{% test unique_grain(model, columns, nullable=[], window_column=none) %}
with counted as (

    select {{ columns | join(', ') }}, count(*) as found
    from {{ model }}
    where {{ in_window(window_column) if window_column else 'true' }}
    group by {{ columns | join(', ') }}

)

select * from counted
where found > 1
{%- for column in columns if column not in nullable %} or {{ column }} is null {%- endfor %}
{% endtest %}

{#- Every row satisfies the expression; a null counts as satisfied. -#}
{% test holds(model, expression, window_column=none) %}
select * from {{ model }}
where not ({{ expression }}) and {{ in_window(window_column) if window_column else 'true' }}
{% endtest %}

{#- There is at least one row. -#}
{% test has_rows(model) %}
select 1 as empty_table
from (select count(*) as found from (select 1 as one from {{ model }} limit 1) as head) as counted
where found = 0
{% endtest %}

{#- A rate in [0, 1] inside its interval; null exactly where there is nothing to divide by. -#}
{% test is_rate(model, rate, numerator, denominator, window_column=none) %}
select * from {{ model }}
where ({{ in_window(window_column) if window_column else 'true' }}) and (
    ({{ denominator }} = 0 and {{ rate }} is not null)
    or ({{ denominator }} > 0 and ({{ rate }} is null or ci_low is null or ci_high is null))
    or {{ rate }} < 0 or {{ rate }} > 1
    or ci_low > {{ rate }} + 1e-12 or ci_high < {{ rate }} - 1e-12
    or {{ numerator }} > {{ denominator }} or {{ numerator }} < 0
)
{% endtest %}

{#- The counts of each segment's values add up to those of all users: values part the users. -#}
{% test segments_add_up(model, counts, by, window_column=none) %}
with totals as (

    select
        segment_name,
        {{ by | join(', ') }}
        {%- for count in counts %}, sum({{ count }}) as {{ count }}{% endfor %}
    from {{ model }}
    where {{ in_window(window_column) if window_column else 'true' }}
    group by segment_name, {{ by | join(', ') }}

)

select segment.*
from totals as segment
inner join totals as everyone
    on everyone.segment_name = 'all'
    {%- for column in by %} and segment.{{ column }} = everyone.{{ column }}{% endfor %}
where false {%- for count in counts %} or segment.{{ count }} <> everyone.{{ count }}{% endfor %}
{% endtest %}
