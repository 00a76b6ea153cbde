-- The curve falls or stays (but for rounding), and everybody at risk has left it by its end.
{{ config(meta={'dagster': {'ref': {'name': 'survival'}}}) }}

with curve as (

    select
        *,
        lag(survival_rate, 1, 1.0) over (
            partition by segment_name, segment_value, churn_kind order by days_since_signup
        ) as rate_before,
        lead(at_risk, 1, 0) over (
            partition by segment_name, segment_value, churn_kind order by days_since_signup
        ) as at_risk_after
    from {{ ref('survival') }}

)

select * from curve
where survival_rate > rate_before + 1e-12 or at_risk_after <> at_risk - churned - censored
