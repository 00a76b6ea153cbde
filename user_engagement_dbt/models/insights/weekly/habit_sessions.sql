{{ config(
    materialized='incremental',
    incremental_strategy='replace_outdated',
    on_schema_change='sync_all_columns',
    meta={'built_from': 'week_count_checksums', 'month_column': 'week_month'},
) }}

-- Which devices and interaction types users of each habit have sessions of, after the weeks that their habits are of.
with outdated as (

    {{ outdated_days(ref('week_count_checksums')) }}

),

sessions as (

    select
        traits.main_device,
        traits.interaction_type as favourite_type,
        kinds.device_type,
        kinds.interaction_type,
        outdated.week_start,
        min(outdated.week_month) as week_month,
        min(outdated.built_from) as built_from,
        sum(days.sessions) as sessions
    from {{ ref('active_kinds') }} as days
    inner join outdated on days.activity_date = outdated.calendar_date
    inner join {{ ref('user_traits') }} as traits on days.user_number = traits.user_number
    inner join {{ ref('session_kinds') }} as kinds on days.kind_number = kinds.kind_number
    cross join {{ ref('horizon') }} as horizon
    where days.activity_date >= {{ add_days('greatest(traits.signup_date, horizon.data_start)', 56) }}
    group by
        traits.main_device,
        traits.interaction_type,
        kinds.device_type,
        kinds.interaction_type,
        outdated.week_start

),

final as (

    {% for habit, of_user, kind in [
        ('main_device', 'main_device', 'device_type'),
        ('interaction_type', 'favourite_type', 'interaction_type'),
    ] -%}
    select
        '{{ habit }}' as habit,
        {{ of_user }} as habit_value,
        {{ kind }} as kind,
        week_start,
        {{ count_of('sum(sessions)') }} as sessions,
        min(week_month) as week_month,
        min(built_from) as built_from
    from sessions
    group by {{ of_user }}, {{ kind }}, week_start
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
