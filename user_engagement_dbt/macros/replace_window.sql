{#-
  incremental_strategy: replace_window

  Deletes the rows of one window and inserts what the model selects for it, in one transaction. The window is
  that of `--event-time-start` (inclusive) and `--event-time-end` (exclusive), which unlike --vars leave partial
  parsing intact; without them the whole table is replaced.

  config(meta={'window_column': ...}) names the date column that the window is about.
-#}
{% macro get_incremental_replace_window_sql(arg_dict) %}
  {%- set target = arg_dict['target_relation'] -%}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
  {%- set dml -%}
    delete from {{ target }} where {{ in_window(config.meta_require('window_column')) }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
  {%- endset -%}
  {% do return(adapter.dispatch('in_transaction')(dml, arg_dict, in_window(config.meta_require('window_column')))) %}
{% endmacro %}

{#- dbt-duckdb opens a transaction around every model. `replaced` is the condition on the rows that are replaced. -#}
{% macro default__in_transaction(dml, arg_dict, replaced) %}{% do return(dml) %}{% endmacro %}

{#-
  Snowflake commits each statement unless told otherwise. A statement whose answer is lost is sent again and may run
  twice: what was replaced must have as many rows as were selected for it, or the text that is no number ends the
  transaction with an error.
-#}
{% macro snowflake__in_transaction(dml, arg_dict, replaced) %}
  {%- set guarded -%}
    {{ dml }};
    select cast(case
      when
        (select count(*) from {{ arg_dict['target_relation'] }} where {{ replaced }})
        = (select count(*) from {{ arg_dict['temp_relation'] }} where {{ replaced }})
        then '0' else 'the window of {{ this.identifier }} was not replaced once: run it again'
    end as integer)
  {%- endset -%}
  {#- the table that is dropped right after need not be kept for travels back in time, which is paid for -#}
  {%- set forgotten = 'alter table ' ~ arg_dict['temp_relation'] ~ ' set data_retention_time_in_days = 0;' -%}
  {% do return(forgotten ~ snowflake_dml_explicit_transaction(guarded)) %}
{% endmacro %}

{#-
  What the query history shows of each query: the model, its months, and the folder of the run, which has its id.

  It comes first in every model and test, and so ends the transaction of one that failed before in the same session:
  dbt leaves it open, and the next statement that defines a table would commit it.
-#}
{% macro snowflake__set_query_tag() %}
  {%- set tag = {
    'app': 'user-engagement',
    'asset': model.fqn[1:] | join('/'),
    'partition': [
      (invocation_args_dict.get('event_time_start') or '') | string,
      (invocation_args_dict.get('event_time_end') or '') | string,
    ] | map('truncate', 10, true, '') | join('..'),
    'run_id': ((invocation_args_dict.get('target_path') or '') | string).replace('\\', '/').split('/')[-1],
  } -%}
  {%- do run_query("rollback; alter session set query_tag = '" ~ tojson(tag) ~ "' " ~ session_parameters()) -%}
{% endmacro %}

{#- Those of the sessions in Python, user_engagement/warehouse/snowflake/account.py, where each has its reason. -#}
{% macro session_parameters() -%}
  {%- set timeout = env_var('SNOWFLAKE_STATEMENT_TIMEOUT', '3600') -%}
  date_input_format = 'AUTO' date_output_format = 'YYYY-MM-DD' timestamp_input_format = 'AUTO'
  timestamp_type_mapping = 'TIMESTAMP_NTZ' timezone = 'UTC' week_start = 1
  quoted_identifiers_ignore_case = false rows_per_resultset = 0 abort_detached_query = true lock_timeout = 600
  statement_timeout_in_seconds = {{ timeout }} statement_queued_timeout_in_seconds = {{ timeout }}
{%- endmacro %}

{#- Every model sets its own. -#}
{% macro snowflake__unset_query_tag(original_query_tag) %}{% endmacro %}

{#- Drops tables of the schema `user_level` that rest on what is built anew; they are then built whole again. -#}
{% macro drop_unless_incremental(names) %}
  {%- if execute and not is_incremental() -%}
    {%- set schema = generate_schema_name('user_level', none) -%}
    {%- for name in names -%}
      {%- set relation = load_cached_relation(this.incorporate(path={'schema': schema, 'identifier': name})) -%}
      {%- if relation -%} {%- do adapter.drop_relation(relation) -%} {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{% endmacro %}

{#- The window as a condition on a date column; true where the invocation has none. -#}
{% macro in_window(column) -%}
  {%- set start = invocation_args_dict.get('event_time_start') -%}
  {%- set end = invocation_args_dict.get('event_time_end') -%}
  {%- if start and end -%}
    {{ column }} >= cast('{{ (start | string)[:10] }}' as date)
    and {{ column }} < cast('{{ (end | string)[:10] }}' as date)
  {%- else -%}
    true
  {%- endif -%}
{%- endmacro %}

{#- The same inside a model: an incremental run reads its window alone, a first or full one reads all. -#}
{% macro in_run_window(column) -%}
  {%- if is_incremental() -%} {{ in_window(column) }} {%- else -%} true {%- endif -%}
{%- endmacro %}
