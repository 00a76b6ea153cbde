{{ config(
    materialized='incremental',
    incremental_strategy='replace_window',
    on_schema_change='sync_all_columns',
    meta={'window_column': 'activity_date'},
) }}

-- A repetition may lie in another month than its first delivery, so the hashes of the window are compared with those of
-- all months; raw sessions are read for the window, and for days elsewhere that hold the other delivery. A row stays
-- here when its repetition is gone: it is then the first and only delivery.
with {% if is_incremental() -%}
candidates as (

    select event_hash from {{ ref('event_hashes') }}
    where {{ in_window('activity_date') }}
    union
    select event_hash from {{ this }}

),

{% endif -%}
hashes as (

    select event_hash from {{ ref('event_hashes') }}
    {%- if is_incremental() %}
    where event_hash in (select event_hash from candidates)
    {%- endif %}

),

-- neighbours in the order of the hashes: a sort of one number a row costs less than counting each
neighbours as (

    select
        event_hash,
        lag(event_hash) over (order by event_hash) as previous_hash
    from hashes

),

repeated as (

    select distinct event_hash
    from neighbours
    where event_hash = previous_hash

),

places as (

    select distinct
        hashes.activity_date,
        hashes.event_hash
    from {{ ref('event_hashes') }} as hashes
    inner join repeated on hashes.event_hash = repeated.event_hash
    {%- if is_incremental() %}
    left join {{ this }} as known
        on
            hashes.event_hash = known.event_hash
            and hashes.activity_date = known.activity_date
            and not ({{ in_window('known.activity_date') }})
    where known.event_hash is null
    {%- endif %}

),

final as (

    select
        stg.event_id,
        places.event_hash,
        stg.user_id,
        stg.activity_date,
        stg.interaction_type,
        stg.device_type,
        stg.session_seconds,
        stg._source,
        stg._row_number
    from {{ ref('stg_user_engagement') }} as stg
    inner join places
        on stg.activity_date = places.activity_date and {{ sorting_hash('stg.event_id') }} = places.event_hash
    where stg.event_id is not null and {{ in_run_window('stg.activity_date') }}
    {%- if is_incremental() %}

    union all

    select
        stg.event_id,
        places.event_hash,
        stg.user_id,
        stg.activity_date,
        stg.interaction_type,
        stg.device_type,
        stg.session_seconds,
        stg._source,
        stg._row_number
    from {{ ref('stg_user_engagement') }} as stg
    inner join places
        on stg.activity_date = places.activity_date and {{ sorting_hash('stg.event_id') }} = places.event_hash
    where
        stg.event_id is not null
        and not ({{ in_window('stg.activity_date') }})
        -- none of these, as a rule: nothing is then read
        and not ({{ in_window('places.activity_date') }})
    {%- endif %}

)

select * from final
