{{ config(materialized='view') }}

{%- set inputs = {
    'day_checksums': {'columns': ['activity_date', 'users', 'hash_sum'], 'day': 'activity_date'},
    'user_day_kinds': {
        'columns': ['user_number', 'unknown_user_id', 'activity_date', 'kind_number', 'sessions'],
        'day': 'activity_date',
    },
    'duplicate_events': {
        'columns': ['user_number', 'activity_date', 'interaction_type', 'device_type'],
        'day': 'activity_date',
    },
    'outages': {'columns': ['outage_date'], 'day': 'outage_date'},
    'users': {
        'columns': ['user_number', 'user_id', 'signup_date', 'segment_cell', 'in_scope'],
        'day': 'signup_date',
    },
} %}

-- Read before the models of the folder `weekly` are built: equal sums of hashes mean equal rows, whatever their order.
with churns as (

    select
        history.user_id,
        history.signup_date,
        case when history.declared_churn_date <= weeks.last_day then history.declared_churn_date end
            as declared_churn_date,
        case when history.inactive_churn_date <= weeks.last_day then history.inactive_churn_date end
            as inactive_churn_date
    from {{ ref('user_history') }} as history
    cross join {{ ref('complete_weeks') }} as weeks
    where history.signup_date <= weeks.last_day

),

declared as (

    select count(declared_churn_date) > 0 as is_declared
    from {{ ref('user_history') }}

),

final as (

    {% for name, input in inputs.items() -%}
    select
        '{{ name }}' as input,
        count(*) as rows_found,
        {{ sum_of_hashes(input.columns) }} as hash_sum
    from {{ ref(name) }}
    where {{ input.day }} <= (select weeks.last_day from {{ ref('complete_weeks') }} as weeks)
    union all
    {% endfor -%}
    select
        'churns' as input,
        count(*) as rows_found,
        {{ sum_of_hashes(['user_id', 'signup_date', 'declared_churn_date', 'inactive_churn_date']) }} as hash_sum
    from churns
    union all
    select 'declared' as input, count(*) as rows_found, {{ sum_of_hashes(['is_declared']) }} as hash_sum
    from declared
    union all
    select
        'session_kinds' as input,
        count(*) as rows_found,
        {{ sum_of_hashes(['kind_number', 'interaction_type', 'device_type']) }} as hash_sum
    from {{ ref('session_kinds') }}
    union all
    select 'horizon' as input, count(*) as rows_found, {{ sum_of_hashes(['first_day', 'data_start']) }} as hash_sum
    from {{ ref('horizon') }}
    union all
    select 'complete_weeks' as input, count(*) as rows_found, {{ sum_of_hashes(['first_monday', 'last_day']) }} as hash_sum
    from {{ ref('complete_weeks') }}

)

select * from final
