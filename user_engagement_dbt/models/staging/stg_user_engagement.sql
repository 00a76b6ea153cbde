with source as (

    select * from {{ source('raw', 'user_engagement') }}

),

renamed as (

    select
        -- ids
        user_id,
        {{ "user_id || '/' || event_id" if var('event_ids_per_user') else 'event_id' }} as event_id,

        -- attributes
        coalesce(interaction_type, 'unknown') as interaction_type,
        coalesce(device_type, 'unknown') as device_type,

        -- measures; a duration that cannot be believed is none, but the row is still activity
        session_duration,
        case
            when session_duration > 0 and session_duration <= {{ var('max_session_seconds') }} then session_duration
        end as session_seconds,

        -- dates
        engagement_date as engaged_at,
        cast(engagement_date as date) as activity_date,

        -- what the contract does not name, as one value
        {% set further = further_columns(source('raw', 'user_engagement'), [
            'user_id', 'event_id', 'interaction_type', 'device_type', 'session_duration', 'engagement_date',
        ]) -%}
        {{ hash64(further) if further else 'cast(null as bigint)' }} as further_hash,

        -- lineage
        _source,
        _row_number

    from source

)

select * from renamed
