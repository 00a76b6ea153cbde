{#- 97.5 % quantile of the standard normal distribution; a decimal would overflow beside a count of 100 million. -#}
{% macro z() -%} cast(1.959963984540054 as double) {%- endmacro %}

{% macro rate(numerator, denominator) -%}
  (cast({{ numerator }} as double) / nullif({{ denominator }}, 0))
{%- endmacro %}

{#- Wilson score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953), 95 %; null over nothing. -#}
{% macro wilson_bound(numerator, denominator, sign) -%}
  (
    (cast({{ numerator }} as double) + {{ z() }} * {{ z() }} / 2 {{ sign }} {{ z() }} * sqrt(
      cast({{ numerator }} as double) * ({{ denominator }} - {{ numerator }}) / nullif({{ denominator }}, 0)
      + {{ z() }} * {{ z() }} / 4
    )) / (nullif({{ denominator }}, 0) + {{ z() }} * {{ z() }})
  )
{%- endmacro %}

{% macro wilson_low(numerator, denominator) -%}
  case when {{ numerator }} = 0 and {{ denominator }} > 0 then 0.0
    else {{ wilson_bound(numerator, denominator, '-') }} end
{%- endmacro %}

{% macro wilson_high(numerator, denominator) -%}
  case when {{ numerator }} = {{ denominator }} and {{ denominator }} > 0 then 1.0
    else {{ wilson_bound(numerator, denominator, '+') }} end
{%- endmacro %}

{#- A null counts as zero, which DuckDB's `greatest` passes over and Snowflake's does not. -#}
{% macro not_negative(expression) -%} greatest(0, coalesce({{ expression }}, 0)) {%- endmacro %}

{#- A count as BIGINT: sums widen to types that files and data frames know as decimals. -#}
{% macro count_of(expression) -%} cast(coalesce({{ expression }}, 0) as bigint) {%- endmacro %}

{#- Sets of small integers as the bits of one BIGINT: a user's retained periods in a single column. -#}
{% macro bit(position) -%} {{ return(adapter.dispatch('bit')(position)) }} {%- endmacro %}
{% macro default__bit(position) -%} (cast(1 as bigint) << cast({{ position }} as integer)) {%- endmacro %}
{% macro snowflake__bit(position) -%} bitshiftleft(1, cast({{ position }} as integer)) {%- endmacro %}

{% macro bit_union(bits) -%} {{ return(adapter.dispatch('bit_union')(bits)) }} {%- endmacro %}
{% macro default__bit_union(bits) -%} coalesce(bit_or({{ bits }}), 0) {%- endmacro %}
{% macro snowflake__bit_union(bits) -%} coalesce(bitor_agg({{ bits }}), 0) {%- endmacro %}

{% macro has_bit(bits, position) -%} {{ return(adapter.dispatch('has_bit')(bits, position)) }} {%- endmacro %}
{% macro default__has_bit(bits, position) -%} ({{ bits }} & {{ bit(position) }}) > 0 {%- endmacro %}
{% macro snowflake__has_bit(bits, position) -%} bitand({{ bits }}, {{ bit(position) }}) > 0 {%- endmacro %}

{#- 64-bit hash; equal values have equal hashes, so that rare repeats are found in a compact first pass. -#}
{% macro hash64(expressions) -%} hash({{ expressions | join(', ') }}) {%- endmacro %}

{#- The same for rows in any order and a different one, but for chance, for others; text, as it exceeds 64 bits. -#}
{% macro sum_of_hashes(columns) -%} cast(sum({{ hash64(columns) }}) as {{ dbt.type_string() }}) {%- endmacro %}

{#- A hash for a sort over all rows, narrow where that is faster; what shares one may differ, more often than above. -#}
{% macro sorting_hash(expression) -%} {{ return(adapter.dispatch('sorting_hash')(expression)) }} {%- endmacro %}
{% macro default__sorting_hash(expression) -%} cast(hash({{ expression }}) >> 32 as uinteger) {%- endmacro %}
{% macro snowflake__sorting_hash(expression) -%} hash({{ expression }}) {%- endmacro %}

{#- Whole seconds: sessions are counted by them, and quantiles looked for within the few that hold them. -#}
{% macro seconds_bucket(seconds) -%} cast(floor({{ seconds }}) as integer) {%- endmacro %}
