-- Sessions by groups of interactions, as a team speaks of them.
with grouped as (

    select
        month,
        case
            when interaction_type in ('create', 'collaborate') then 'making'
            when interaction_type in ('view_content', 'search') then 'reading'
            else 'other'
        end as interaction_group,
        sessions,
        sessions * average_session_seconds as seconds,
        excluded_sessions,
        observed_through
    from {{ ref('session_metrics') }}
    where month is not null and interaction_type <> 'all'

)

select
    month,
    interaction_group,
    {{ count_of('sum(sessions + excluded_sessions)') }} as sessions,
    {{ rate('sum(seconds)', 'sum(sessions)') }} as average_session_seconds,
    max(observed_through) as observed_through
from grouped
group by month, interaction_group
