{#-
  incremental_strategy: replace_outdated

  Replaces the months whose rows were built from something else than what there is now, in one transaction. Every row
  carries its month, and in `built_from` the checksum of what the month was built from.
  config(meta={'built_from': ..., 'month_column': ...}) names the model that has the checksums of now, and the column of
  the month in both, `activity_month` unless told.

  The checksums are of contents: whichever months a run loads, in whatever order, and wherever it ends, the next run
  finds what is outdated, and the table holds what building it whole would give.
-#}
{% macro get_incremental_replace_outdated_sql(arg_dict) %}
  {%- set target = arg_dict['target_relation'] -%}
  {%- set made_from = graph.nodes['model.user_engagement_dbt.' ~ config.meta_require('built_from')] -%}
  {%- set upstream = target.incorporate(path={'schema': made_from.schema, 'identifier': made_from.name}) -%}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
  {%- set month = month_column() -%}
  {%- set kept -%} coalesce({{ month }} in ({{ months_up_to_date(upstream, target) }}), false) {%- endset -%}
  {%- set dml -%}
    delete from {{ target }} where not {{ kept }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
  {%- endset -%}
  {%- set replaced = month ~ ' in (select ' ~ month ~ ' from ' ~ arg_dict['temp_relation'] ~ ')' -%}
  {% do return(adapter.dispatch('in_transaction')(dml, arg_dict, replaced)) %}
{% endmacro %}

{#- The months to build in a model of this strategy, and the checksums that their rows carry. -#}
{% macro outdated_months(upstream) -%}
  {%- set month = month_column() -%}
  select checksums.{{ month }}, checksums.built_from
  from ({{ checksums_of(upstream) }}) as checksums
  {%- if is_incremental() and 'built_from' in column_names(this) %}
  left join ({{ months_up_to_date(upstream, this) }}) as kept on checksums.{{ month }} = kept.{{ month }}
  where kept.{{ month }} is null
  {%- endif %}
{%- endmacro %}

{% macro months_up_to_date(upstream, target) -%}
  {%- set month = month_column() -%}
  select built.{{ month }}
  from ({{ checksums_of(target) }}) as built
  inner join ({{ checksums_of(upstream) }}) as current_checksums
    on
      built.{{ month }} = current_checksums.{{ month }}
      and built.built_from = current_checksums.built_from
  where {{ 'false' if var('rebuild') else 'true' }}
{%- endmacro %}

{% macro checksums_of(relation) -%}
  {%- set month = month_column() -%}
  select {{ month }}, min(built_from) as built_from from {{ relation }} group by {{ month }}
{%- endmacro %}

{% macro month_column() %}{{ return(config.meta_get('month_column', 'activity_month')) }}{% endmacro %}

{% macro column_names(relation) %}
  {{ return(adapter.get_columns_in_relation(relation) | map(attribute='name') | map('lower') | list) }}
{% endmacro %}

{#- What else the rows of a month depend on: the models that make them, and a setting. -#}
{% macro code_of_months() %}
  {{ return(code_of(['counted_days', 'active_days', 'user_months', 'gaps_within_months'], retention_bits())) }}
{% endmacro %}

{% macro code_of(names, settings) %}
  {%- set code = [] -%}
  {%- for name in names if execute -%}
    {%- do code.append(graph.nodes['model.user_engagement_dbt.' ~ name].checksum.checksum) -%}
  {%- endfor -%}
  {{ return(local_md5(code | join ~ settings)) }}
{% endmacro %}
