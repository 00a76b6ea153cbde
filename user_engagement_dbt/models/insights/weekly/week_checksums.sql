with final as (

    select
        {{ month_start(week_start('activity_date')) }} as week_month,
        {{ hash63([sum_of_hashes(['activity_date', 'hash_sum']), "'" ~ code_of_weeks() ~ "'"]) }} as built_from
    from {{ ref('complete_day_checksums') }}
    group by {{ month_start(week_start('activity_date')) }}

)

select * from final
