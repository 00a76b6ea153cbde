{#- The KPIs in the order of the table, each with the words that every page and export shows. -#}
{% macro kpi_definitions() %}
{{ return([
  {'kpi': 'churn_rate_declared', 'label': 'Churn rate (declared)', 'unit': 'rate',
   'definition': 'Users who cancelled for the first time in the last complete month, among those who had signed up before it and not yet cancelled at its start.'},
  {'kpi': 'churn_rate_inactive', 'label': 'Churn rate (inactive)', 'unit': 'rate',
   'definition': 'Users who in the last complete month reached ' ~ var('inactivity_days') ~ ' days without activity for the first time, among those who had signed up before it and not yet done so at its start.'},
  {'kpi': 'retention_1_month', 'label': 'Retention after 1 month', 'unit': 'rate',
   'definition': 'Users active between 1 and 2 months after signup, among those whose second month is over. Previous: the same one month earlier.'},
  {'kpi': 'retention_6_month', 'label': 'Retention after 6 months', 'unit': 'rate',
   'definition': 'Users active between 6 and 7 months after signup, among those whose seventh month is over. Previous: the same one month earlier.'},
  {'kpi': 'dau', 'label': 'Daily active users', 'unit': 'users',
   'definition': 'Distinct users active on the last complete day. Previous: the same day a week earlier. An exact count has no interval.'},
  {'kpi': 'wau', 'label': 'Weekly active users', 'unit': 'users',
   'definition': 'Distinct users active in the last 7 days. Previous: the 7 days before. An exact count has no interval.'},
  {'kpi': 'mau', 'label': 'Monthly active users', 'unit': 'users',
   'definition': 'Distinct users active in the last ' ~ var('active_window_days') ~ ' days. Previous: the ' ~ var('active_window_days') ~ ' days before. An exact count has no interval.'},
  {'kpi': 'stickiness', 'label': 'Stickiness (DAU / MAU)', 'unit': 'rate',
   'definition': 'Daily over monthly active users on the last complete day. Previous: the same day a week earlier.'},
  {'kpi': 'sessions_per_user', 'label': 'Sessions per user', 'unit': 'sessions',
   'definition': 'Sessions in the last complete month per user active in it.'},
  {'kpi': 'active_days_per_user', 'label': 'Active days per user', 'unit': 'days',
   'definition': 'Active days in the last complete month per user active in it.'},
  {'kpi': 'average_session_duration', 'label': 'Average session duration', 'unit': 'seconds',
   'definition': 'Mean duration of the sessions of the last complete month that have a believable one.'},
  {'kpi': 'median_session_duration', 'label': 'Median session duration', 'unit': 'seconds',
   'definition': 'Median duration of the sessions of the last complete month that have a believable one; interval from order statistics.'},
  {'kpi': 'median_days_since_signup', 'label': 'Median days since signup', 'unit': 'days',
   'definition': 'Median over all users of the days from signup to the last complete day. Previous: the same one month earlier.'},
]) }}
{% endmacro %}

{#- Ranks (from 1) of the order statistics that bound a median at 95 % (Conover 1999, section 3.2). -#}
{% macro median_rank_low(n) -%} greatest(1, floor({{ n }} / 2.0 - {{ z() }} * sqrt({{ n }}) / 2)) {%- endmacro %}
{% macro median_rank_high(n) -%} least({{ n }}, ceil({{ n }} / 2.0 + {{ z() }} * sqrt({{ n }}) / 2) + 1) {%- endmacro %}
