{#- The families of KPIs, in the order of the table; each defines and measures its own. -#}
{%- set families = [
    ref('kpi_churn'),
    ref('kpi_retention'),
    ref('kpi_active_users'),
    ref('kpi_frequency'),
    ref('kpi_session_duration'),
    ref('kpi_days_since_signup'),
] %}
{#- Then those of a team's own. -#}
{%- for model in env_var('OWN_KPI_MODELS', '').split() -%}
{%- do families.append(ref(model)) -%}
{%- endfor %}

with families as (

    {% for family in families -%}
    select {{ loop.index }} as family, rows_of_family.* from {{ family }} as rows_of_family
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

final as (

    select
        families.kpi,
        families.label,
        families.value,
        families.unit,
        families.numerator,
        families.denominator,
        families.ci_low,
        families.ci_high,
        families.period_start,
        families.period_end,
        families.previous_value,
        families.change,
        families.definition,
        families.desired_direction,
        {{ count_of('row_number() over (order by families.family, families.place)') }} as position,
        horizon.as_of as observed_through
    from families
    cross join {{ ref('horizon') }} as horizon

)

select * from final
