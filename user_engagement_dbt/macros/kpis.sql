{#-
  The end of a model that holds a family of KPIs.

  `kpis` says of each KPI, in the order in which they are shown: `label`; `unit` (`rate`, `users`, `sessions`, `days` or
  `seconds`); `desired_direction` (`up`, `down`, or `none` if a change is neither good nor bad); `definition`, which pages
  and exports show. The CTE `measures` has a row for each KPI and slot (`current`, `previous`) that can be measured.
-#}
{% macro kpi_rows(kpis) -%}
definitions as (

    {% for name, kpi in kpis.items() -%}
    select
        {{ loop.index }} as place,
        '{{ name }}' as kpi,
        '{{ dbt.escape_single_quotes(kpi.label) }}' as label,
        '{{ kpi.unit }}' as unit,
        '{{ kpi.desired_direction }}' as desired_direction,
        '{{ dbt.escape_single_quotes(kpi.definition) }}' as definition
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

final as (

    select
        definitions.place,
        definitions.kpi,
        definitions.label,
        current_values.value,
        definitions.unit,
        cast(current_values.numerator as double) as numerator,
        cast(current_values.denominator as bigint) as denominator,
        current_values.ci_low,
        current_values.ci_high,
        current_values.period_start,
        current_values.period_end,
        previous_values.value as previous_value,
        current_values.value - previous_values.value as change,
        definitions.definition,
        definitions.desired_direction
    from definitions
    left join measures as current_values
        on definitions.kpi = current_values.kpi and current_values.slot = 'current'
    left join measures as previous_values
        on definitions.kpi = previous_values.kpi and previous_values.slot = 'previous'

)

select * from final
{%- endmacro %}

{#- Ranks (from 1) of the order statistics that bound a median at 95 % (Conover 1999, section 3.2). -#}
{% macro median_rank_low(n) -%} greatest(1, floor({{ n }} / 2.0 - {{ z() }} * sqrt({{ n }}) / 2)) {%- endmacro %}
{% macro median_rank_high(n) -%} least({{ n }}, ceil({{ n }} / 2.0 + {{ z() }} * sqrt({{ n }}) / 2) + 1) {%- endmacro %}
