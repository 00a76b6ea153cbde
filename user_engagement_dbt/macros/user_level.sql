{#-
  Moves user-level tables that an earlier version left in the schema of their folder, before anything is built.

  The table found there is the newest: this version leaves none, so an earlier version has made it since. Incremental
  models go on with its rows. A view is dropped, also one that reads moved tables; its model makes it again.
-#}
{% macro move_user_level_tables() %}
  {%- set places = [('insights', 'at_risk_users')] if execute else [] -%}
  {%- for model in (graph.nodes.values() if execute else [])
      if model.package_name == 'user_engagement_dbt' and model.config.schema == 'user_level' -%}
    {%- do places.append((model.fqn[1], model.name)) -%}
  {%- endfor -%}
  {%- for folder, name in places -%}
    {%- set former = held_relation(folder, name) -%}
    {%- if former -%}
      {%- do drop_if_held('insights', 'complete_weeks_inputs') -%}
      {%- if former.is_view -%} {%- do adapter.drop_relation(former) -%}
      {%- else -%} {%- do move_to_user_level(former, name) -%}
      {%- endif -%}
      {%- do adapter.commit() -%}
    {%- endif -%}
  {%- endfor -%}
  {#- no model has made these for long -#}
  {%- for folder, name in ([('activity', 'user_numbers'), ('insights', 'user_week_kinds')] if execute else []) -%}
    {%- do drop_if_held(folder, name) -%}
  {%- endfor -%}
{% endmacro %}

{#- The table or view of this name in a schema of the project; none if there is no such. -#}
{% macro held_relation(schema, name) %}
  {{ return(load_cached_relation(api.Relation.create(
      database=target.database, schema=generate_schema_name(schema, none), identifier=name
  ))) }}
{% endmacro %}

{% macro drop_if_held(schema, name) %}
  {%- set held = held_relation(schema, name) -%}
  {%- if held -%}
    {%- do adapter.drop_relation(held) -%}
    {%- do adapter.commit() -%}
  {%- endif -%}
{% endmacro %}

{% macro move_to_user_level(former, name) %}
  {%- set moved = api.Relation.create(
      database=target.database, schema=generate_schema_name('user_level', none), identifier=name, type='table'
  ) -%}
  {%- do create_schema(moved.without_identifier()) -%}
  {%- do adapter.dispatch('move_table')(former, moved) -%}
{% endmacro %}

{#- DuckDB has no statement that moves a table to another schema. -#}
{% macro default__move_table(former, moved) %}
  {%- do run_query('create or replace table ' ~ moved ~ ' as select * from ' ~ former) -%}
  {%- do adapter.cache_added(moved) -%}
  {%- do adapter.drop_relation(former) -%}
{% endmacro %}

{#- dbt's cache has names as Snowflake stores them. -#}
{% macro snowflake__move_table(former, moved) %}
  {%- set stored = former.incorporate(path={'schema': moved.schema | upper}) -%}
  {%- do adapter.drop_relation(stored) -%}
  {%- do adapter.rename_relation(former, stored) -%}
{% endmacro %}

{#- Lets the reader role use the schemas of aggregated tables, and takes back the use of that with users' tables. -#}
{% macro grant_usage(schemas) %}
  {%- set reader = env_var('SNOWFLAKE_READER_ROLE', '') | upper -%}
  {%- if execute and target.type == 'snowflake' and reader -%}
    {%- for name in ['cohorts', 'marts', 'insights'] if generate_schema_name(name, none) in schemas %}
      grant usage on schema {{ target.database }}.{{ generate_schema_name(name, none) }} to role {{ reader }};
    {%- endfor -%}
    {%- if generate_schema_name('user_level', none) in schemas %}
      revoke usage on schema {{ target.database }}.{{ generate_schema_name('user_level', none) }} from role {{ reader }};
    {%- endif -%}
  {%- endif -%}
{% endmacro %}
