with source as (

    select * from {{ source('raw', 'rejected_rows') }}

),

renamed as (

    select
        table_name,
        reason,
        user_id,
        date_value,
        _source,
        _row_number
    from source

)

select * from renamed
