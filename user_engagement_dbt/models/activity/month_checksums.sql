with final as (

    select
        {{ month_start('activity_date') }} as activity_month,
        -- a number, since every row of the month carries it
        {{ hash64([sum_of_hashes(['activity_date', 'users', 'hash_sum']), "'" ~ code_of_months() ~ "'"]) }} as built_from
    from {{ ref('day_checksums') }}
    group by {{ month_start('activity_date') }}

)

select * from final
