{#- Band of a number of days since signup, as of the first day of a period: `new` signed up within it. -#}
{% macro tenure_band(days) -%}
  case
    when {{ days }} < 0 then 'new'
    when {{ days }} < 7 then '0-6 days'
    when {{ days }} < 28 then '7-27 days'
    when {{ days }} < 84 then '28-83 days'
    when {{ days }} < 182 then '84-181 days'
    when {{ days }} < 273 then '182-272 days'
    when {{ days }} < 364 then '273-363 days'
    else '364+ days'
  end
{%- endmacro %}

{#- Churn as the insights see it: declared where the source declares any, else inactivity. -#}
{% macro churn_date(history, declared) -%}
  case when {{ declared }} then {{ history }}.declared_churn_date else {{ history }}.inactive_churn_date end
{%- endmacro %}

{#- First-week behaviours as conditions on a user's counts of days 0 to 6. -#}
{% macro first_week_behaviours() %}
{{ return({
  '2 or more active days': 'active_days >= 2',
  '3 or more active days': 'active_days >= 3',
  '5 or more active days': 'active_days >= 5',
  '3 or more sessions': 'sessions >= 3',
  '5 or more sessions': 'sessions >= 5',
  '10 or more sessions': 'sessions >= 10',
  '2 or more device types': 'device_types >= 2',
  '2 or more interaction types': 'interaction_types >= 2',
  '3 or more interaction types': 'interaction_types >= 3',
}) }}
{% endmacro %}

{#- A row per user in the relation `observed` and first-week behaviour that the user showed; `all` has everybody. -#}
{% macro users_by_first_week_behaviour(observed) -%}
    select 'all' as behaviour, user_number from {{ observed }}
    {% for behaviour, condition in first_week_behaviours().items() -%}
    union all
    select '{{ behaviour }}' as behaviour, user_number from {{ observed }} where {{ condition }}
    {% endfor -%}
    union all
    select distinct 'used ' || interaction_type as behaviour, user_number
    from {{ ref('first_week_kinds') }}
{%- endmacro %}

{#- Whole weeks since the week of signup, as the first of a band of them: the bands of `weekly_counts`. -#}
{% macro tenure_bands() %}
{{ return([0, 1, 2, 3, 4, 6, 8, 12, 18, 26, 39, 52, 78, 104, 156, 208]) }}
{% endmacro %}

{% macro tenure_weeks(signup_week, week) -%}
  case
    {% for band in tenure_bands()[1:] | reverse -%}
    when {{ week }} - {{ signup_week }} >= {{ 7 * band }} then {{ band }}
    {% endfor -%}
    else 0
  end
{%- endmacro %}

{#- One of 64 random groups of users, by the id: the order of loads decides the number. -#}
{% macro user_bucket(user_id) -%} {{ return(adapter.dispatch('user_bucket')(user_id)) }} {%- endmacro %}
{% macro default__user_bucket(user_id) -%} cast(hash({{ user_id }}) % 64 as integer) {%- endmacro %}
{% macro snowflake__user_bucket(user_id) -%} mod(abs(hash({{ user_id }})), 64) {%- endmacro %}

{#-
  A number for a combination of values that is the same in every warehouse, and stays when others come or go. One bit
  less than a hash has, as it is a BIGINT, which Python reads.
-#}
{% macro hash63(columns) -%} {{ return(adapter.dispatch('hash63')(columns)) }} {%- endmacro %}
{% macro default__hash63(columns) -%} cast({{ hash64(columns) }} >> 1 as bigint) {%- endmacro %}
{% macro snowflake__hash63(columns) -%} cast(bitshiftright({{ hash64(columns) }}, 1) as bigint) {%- endmacro %}

{#- What else the tables of complete weeks depend on: the models that make them, and the lists in these macros. -#}
{% macro code_of_weeks() %}
  {%- set names = ['active_kinds'] -%}
  {%- for node in (graph.nodes.values() if execute else [])
      if node.resource_type == 'model' and node.fqn[1:3] == ['insights', 'weekly'] -%}
    {%- do names.append(node.name) -%}
  {%- endfor -%}
  {{ return(code_of(names | sort, tojson([tenure_bands(), first_week_behaviours(), days_before_signup()]))) }}
{% endmacro %}

{#- In a model by month of signup: the days of the first weeks of its outdated months, and of `data_start`. -#}
{% macro first_days(days) -%}
    select distinct calendar.calendar_date
    from {{ ref('calendar') }} as calendar
    cross join {{ ref('horizon') }} as horizon
    cross join {{ ref('complete_weeks') }} as weeks
    inner join outdated
        on
            calendar.calendar_date >= outdated.signup_month
            and calendar.calendar_date < {{ add_days(
                'greatest(' ~ add_months('outdated.signup_month', 1) ~ ', horizon.data_start)', days
            ) }}
    where calendar.calendar_date <= weeks.last_day
{%- endmacro %}

{#- In a model by month of the week's Monday: the days of its outdated months. -#}
{% macro outdated_days(upstream) -%}
    select
        calendar.calendar_date,
        calendar.week_start,
        outdated.week_month,
        outdated.built_from
    from ({{ outdated_months(upstream) }}) as outdated
    inner join {{ ref('calendar') }} as calendar
        on outdated.week_month = {{ month_start('calendar.week_start') }}
    cross join {{ ref('complete_weeks') }} as weeks
    where calendar.calendar_date <= weeks.last_day
{%- endmacro %}
