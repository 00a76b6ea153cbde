{#- The columns of a user that metrics are broken down by, and those that are kept with a user. -#}
{% macro segments() %}
  {{ return(var('segments') if var('segments') is not none else segments_of_signups()) }}
{% endmacro %}

{#- Without the variable, for whoever runs dbt by hand: those of the setting, or of its default, that signups have. -#}
{% macro segments_of_signups() %}
  {%- set wanted = env_var('USER_ENGAGEMENT_SEGMENTS', '') or 'product_type,acquisition_channel,country' -%}
  {%- set signups = api.Relation.create(
      database=target.database, schema=generate_schema_name('raw', none), identifier='user_signups'
  ) -%}
  {%- set present = [] -%}
  {%- for column in (adapter.get_columns_in_relation(signups) if execute else []) -%}
    {%- do present.append(column.name | lower) -%}
  {%- endfor -%}
  {%- set found = [] -%}
  {%- for name in wanted.split(',') if name | trim | lower in present -%}
    {%- do found.append(name | trim | lower) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}

{% macro attributes() %}{{ return((['product_type'] + segments()) | unique | list) }}{% endmacro %}

{#- Plain schema names (raw, staging, lookups, activity, ...), in Snowflake with the prefix that the account has. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ adapter.dispatch('schema_prefix')() ~ custom_schema_name if custom_schema_name else target.schema }}
{%- endmacro %}
{% macro default__schema_prefix() %}{{ return('') }}{% endmacro %}
{% macro snowflake__schema_prefix() %}{{ return(env_var('SNOWFLAKE_SCHEMA_PREFIX', '')) }}{% endmacro %}

{#- A column whose name is a word of Snowflake's SQL. -#}
{% macro reserved(name) -%} {{ return(adapter.dispatch('reserved')(name)) }} {%- endmacro %}
{% macro default__reserved(name) -%} {{ name }} {%- endmacro %}
{% macro snowflake__reserved(name) -%} {{ adapter.quote(name | upper) }} {%- endmacro %}

{#- Where signups carry only a day, and events their time: the days before the signup day that count on it. -#}
{% macro days_before_signup() %}{{ return(1 if var('signups_are_plain_days') else 0) }}{% endmacro %}

{#- Retention periods kept per user: those that are published, and the six months of the headline. -#}
{% macro retention_bits() %}{{ return([var('max_periods'), 6] | max) }}{% endmacro %}

{#- N of day-N retention; places in this list are places of bits. -#}
{% macro day_numbers() %}{{ return([1, 3, 7, 14, 28, 30, 60, 90, 180]) }}{% endmacro %}

{#- The columns of a raw table that the contract does not name, quoted; none while dbt only parses. -#}
{% macro further_columns(relation, declared) %}
  {%- set names = [] -%}
  {%- for column in (adapter.get_columns_in_relation(relation) if execute else []) -%}
    {%- if column.name | lower not in declared and not column.name.startswith('_') -%}
      {%- do names.append(adapter.quote(column.name)) -%}
    {%- endif -%}
  {%- endfor -%}
  {{ return(names) }}
{% endmacro %}
