-- Read in the order of its columns, so that nothing depends on the numbers.
with final as (

    select distinct
        segment_cell,
        main_device,
        interaction_type,
        activity_level,
        group_cell
    from {{ ref('user_traits') }}

)

select * from final
