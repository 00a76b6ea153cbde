-- Rows in = rows kept + rows quarantined, for every raw table.
{{ config(meta={'dagster': {'ref': {'name': 'data_quality'}}}) }}

select
    table_name,
    sum(case when reason = 'total' then {{ reserved('rows') }} else 0 end) as total_rows,
    sum(case when reason not in ('total', 'identical_row', 'day_before_signup') then {{ reserved('rows') }} else 0 end) as accounted_rows
from {{ ref('data_quality') }}
group by table_name
having
    sum(case when reason = 'total' then {{ reserved('rows') }} else 0 end)
    <> sum(case when reason not in ('total', 'identical_row', 'day_before_signup') then {{ reserved('rows') }} else 0 end)
