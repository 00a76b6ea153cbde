with vanished as (

    select {{ sum_of_hashes(['attribute', 'value']) }} as hash_sum
    from {{ ref('vanished_kinds') }}

),

final as (

    select
        weeks.week_month,
        {{ hash63(['weeks.built_from', 'vanished.hash_sum']) }} as built_from
    from {{ ref('week_checksums') }} as weeks
    cross join vanished

)

select * from final
