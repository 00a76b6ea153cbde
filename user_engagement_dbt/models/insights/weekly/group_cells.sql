with final as (

    select distinct
        group_cell,
        segment_cell,
        main_device,
        interaction_type,
        activity_level
    from {{ ref('user_traits') }}

)

select * from final
