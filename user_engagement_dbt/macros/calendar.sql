{#- Months since year 0, so that differences of months are differences of integers. -#}
{% macro month_index(day) -%}
  (cast(extract(year from {{ day }}) as integer) * 12 + cast(extract(month from {{ day }}) as integer))
{%- endmacro %}

{% macro month_start(day) -%} {{ return(adapter.dispatch('month_start')(day)) }} {%- endmacro %}
{#- Takes half the time of `date_trunc` in DuckDB. -#}
{% macro default__month_start(day) -%} ({{ day }} - cast(extract(day from {{ day }}) - 1 as integer)) {%- endmacro %}
{% macro snowflake__month_start(day) -%} cast({{ dbt.date_trunc('month', day) }} as date) {%- endmacro %}

{#- Monday of the week. -#}
{% macro week_start(day) -%} {{ return(adapter.dispatch('week_start')(day)) }} {%- endmacro %}
{% macro default__week_start(day) -%} cast({{ dbt.date_trunc('week', day) }} as date) {%- endmacro %}
{#- Whatever the account's WEEK_START says. -#}
{% macro snowflake__week_start(day) -%}
  cast(dateadd(day, 1 - dayofweekiso({{ day }}), {{ day }}) as date)
{%- endmacro %}

{#- `months` may be an expression. The day of the month is kept, or clamped to the month's last day. -#}
{% macro add_months(day, months) -%} cast({{ dbt.dateadd('month', months, day) }} as date) {%- endmacro %}

{% macro add_days(day, days) -%} {{ return(adapter.dispatch('add_days')(day, days)) }} {%- endmacro %}
{% macro default__add_days(day, days) -%} ({{ day }} + cast({{ days }} as integer)) {%- endmacro %}
{% macro snowflake__add_days(day, days) -%} cast(dateadd(day, {{ days }}, {{ day }}) as date) {%- endmacro %}

{#-
  Whole months from `anchor` to `day`, two rows of the calendar: the k for which anchor + k months <= day
  < anchor + (k + 1) months, months added to the anchor itself with clamping. Equal to counting calendar months and
  taking one off while the day of the month is short of the anchor's, or of the month's end where the month is too
  short for it.
-#}
{% macro months_between(anchor, day) -%}
  ({{ day }}.month_index - {{ anchor }}.month_index - case
    when {{ day }}.day_of_month < least({{ anchor }}.day_of_month, {{ day }}.days_in_month) then 1 else 0
  end)
{%- endmacro %}
