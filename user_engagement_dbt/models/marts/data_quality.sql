with rejected as (

    select
        table_name,
        reason,
        count(*) as rows_found
    from {{ ref('stg_rejected_rows') }}
    group by table_name, reason

),

signups as (

    select
        case
            when stg.user_id is null then 'null_user_id'
            when stg.signup_date > horizon.as_of then 'after_as_of'
            else 'dated'
        end as reason,
        count(*) as rows_found
    from {{ ref('stg_user_signups') }} as stg
    cross join {{ ref('horizon') }} as horizon
    group by 1

),

churn as (

    select
        case
            when stg.user_id is null then 'null_user_id'
            when users.user_id is null then 'orphan'
            when stg.churn_date < users.signup_date then 'before_signup'
            when stg.churn_date > horizon.as_of then 'after_as_of'
            else 'valid'
        end as reason,
        count(*) as rows_found,
        count(distinct stg.user_id) as users_found
    from {{ ref('stg_churn_data') }} as stg
    left join {{ ref('users') }} as users on stg.user_id = users.user_id
    cross join {{ ref('horizon') }} as horizon
    group by 1

),

engagement as (

    select
        reason,
        sum(sessions) as rows_found
    from {{ ref('quarantined_days') }}
    group by reason

),

found as (

    select table_name, reason, rows_found from rejected
    union all
    select table_name, 'total' as reason, rows_found from rejected

    union all
    select 'user_signups' as table_name, reason, rows_found from signups where reason <> 'dated'
    union all
    select 'user_signups' as table_name, 'kept' as reason, count(*) as rows_found from {{ ref('users') }}
    union all
    select
        'user_signups' as table_name,
        'duplicate_user' as reason,
        signups.rows_found - kept.users_found as rows_found
    from signups
    cross join (select count(*) as users_found from {{ ref('users') }}) as kept
    where signups.reason = 'dated'
    union all
    select 'user_signups' as table_name, 'total' as reason, count(*) as rows_found
    from {{ ref('stg_user_signups') }}

    union all
    select 'churn_data' as table_name, reason, rows_found from churn where reason <> 'valid'
    union all
    select 'churn_data' as table_name, 'kept' as reason, users_found as rows_found from churn where reason = 'valid'
    union all
    select 'churn_data' as table_name, 'duplicate_churn' as reason, rows_found - users_found as rows_found
    from churn
    where reason = 'valid'
    union all
    select 'churn_data' as table_name, 'total' as reason, count(*) as rows_found
    from {{ ref('stg_churn_data') }}

    union all
    select 'user_engagement' as table_name, reason, rows_found from engagement
    union all
    select 'user_engagement' as table_name, 'null_user_id' as reason, sum(rows_without_user) as rows_found
    from {{ ref('row_counts') }}
    union all
    select 'user_engagement' as table_name, 'duplicate_event' as reason, count(*) as rows_found
    from {{ ref('duplicate_events') }}
    union all
    select 'user_engagement' as table_name, 'kept' as reason, sum(sessions) as rows_found
    from {{ ref('active_days') }}
    union all
    select 'user_engagement' as table_name, 'identical_row' as reason, sum(identical.repetitions) as rows_found
    from {{ ref('identical_days') }} as identical
    inner join {{ ref('users') }} as users
        on identical.user_id = users.user_id
        and identical.activity_date >= users.signup_date - {{ days_before_signup() }}
    inner join {{ ref('horizon') }} as horizon on identical.activity_date <= horizon.as_of
    {% if days_before_signup() -%}
    union all
    select 'user_engagement' as table_name, 'day_before_signup' as reason, sum(sessions_day_before) as rows_found
    from {{ ref('active_days') }}
    {% endif -%}
    union all
    select 'user_engagement' as table_name, 'total' as reason, sum(total_rows) as rows_found
    from {{ ref('row_counts') }}

),

reasons as (

    {% for table, reasons in {
        'user_signups': [
            'null_user_id', 'null_date', 'unparseable_date', 'implausible_date', 'after_as_of', 'duplicate_user',
        ],
        'user_engagement': [
            'null_user_id', 'null_date', 'unparseable_date', 'implausible_date', 'bot', 'stray_pings', 'orphan',
            'before_signup', 'after_as_of', 'duplicate_event', 'identical_row', 'day_before_signup',
        ],
        'churn_data': [
            'null_user_id', 'null_date', 'unparseable_date', 'orphan', 'before_signup', 'after_as_of',
            'duplicate_churn',
        ],
    }.items() -%}
    {% set last_table = loop.last -%}
    {% for reason in reasons + ['kept', 'total'] -%}
    select '{{ table }}' as table_name, '{{ reason }}' as reason
    {{ 'union all' if not (last_table and loop.last) }}
    {% endfor %}
    {%- endfor %}
),

final as (

    select
        reasons.table_name,
        reasons.reason,
        {{ count_of('sum(found.rows_found)') }} as {{ reserved('rows') }},
        horizon.as_of as observed_through
    from reasons
    left join found on reasons.table_name = found.table_name and reasons.reason = found.reason
    cross join {{ ref('horizon') }} as horizon
    group by reasons.table_name, reasons.reason, horizon.as_of

)

select * from final
