with given as (

    select
        cast({{ "'" ~ var('as_of') ~ "'" if var('as_of') else 'null' }} as date) as as_of,
        cast({{ "'" ~ var('data_start') ~ "'" if var('data_start') else 'null' }} as date) as data_start

),

{% if not var('as_of') -%}
newest as (

    select max(activity_date) as activity_date from {{ ref('stg_user_engagement') }}

),

{% endif -%}
horizon as (

    select
        {{ 'given.as_of' if var('as_of') else 'newest.activity_date' }} as as_of,
        given.data_start
    from given
    {{ '' if var('as_of') else 'cross join newest' }}

),

final as (

    select
        horizon.as_of,
        min(signups.signup_date) as first_day,
        coalesce(horizon.data_start, min(signups.signup_date)) as data_start
    from horizon
    left join {{ ref('stg_user_signups') }} as signups
        on horizon.as_of >= signups.signup_date and signups.user_id is not null
    group by horizon.as_of, horizon.data_start

)

select * from final
