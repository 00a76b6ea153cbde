with final as (

    select * from {{ ref('survival_durations') }}

)

select * from final
