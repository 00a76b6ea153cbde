with source as (

    select * from {{ source('raw', 'churn_data') }}

),

renamed as (

    select
        -- ids
        user_id,

        -- attributes
        coalesce(churn_reason, 'unknown') as churn_reason,

        -- dates
        churn_date as churned_at,
        cast(churn_date as date) as churn_date,

        -- lineage
        _source,
        _row_number

    from source

)

select * from renamed
