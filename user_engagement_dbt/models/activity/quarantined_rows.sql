{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

-- Raw sessions are read for the quarantined days of the window, and for those elsewhere that are not here yet. A day stays
-- here when it comes to count: whoever reads this joins it with the days that are quarantined now.
with days as (

    select
        quarantined.user_id,
        quarantined.activity_date
    from {{ ref('quarantined_days') }} as quarantined
    {%- if is_incremental() %}
    left join {{ this }} as known
        on
            quarantined.user_id = known.user_id
            and quarantined.activity_date = known.activity_date
            and not ({{ in_window('known.activity_date') }})
    where known.user_id is null
    {%- endif %}

),

final as (

    select
        stg.user_id,
        stg.activity_date,
        stg.interaction_type,
        stg.session_seconds
    from {{ ref('stg_user_engagement') }} as stg
    inner join days on stg.user_id = days.user_id and stg.activity_date = days.activity_date
    where {{ in_run_window('stg.activity_date') }}
    {%- if is_incremental() %}

    union all

    select
        stg.user_id,
        stg.activity_date,
        stg.interaction_type,
        stg.session_seconds
    from {{ ref('stg_user_engagement') }} as stg
    inner join days on stg.user_id = days.user_id and stg.activity_date = days.activity_date
    where
        not ({{ in_window('stg.activity_date') }})
        -- none of these, as a rule: nothing is then read
        and not ({{ in_window('days.activity_date') }})
    {%- endif %}

)

select * from final
