{{ config(materialized='ephemeral') }}

with final as (

    select distinct
        segment_name,
        segment_value
    from {{ ref('segment_values') }}

)

select * from final
