-- Kaplan & Meier 1958 (doi:10.1080/01621459.1958.10501452) with Greenwood's variance on the log-log scale.
with per_day as (

    select
        durations.churn_kind,
        segments.segment_name,
        segments.segment_value,
        durations.days_since_signup,
        sum(case when durations.is_churned then durations.users else 0 end) as churned,
        sum(case when durations.is_churned then 0 else durations.users end) as censored
    from {{ ref('survival_durations') }} as durations
    inner join {{ ref('segment_values') }} as segments on durations.segment_cell = segments.segment_cell
    group by
        durations.churn_kind, segments.segment_name, segments.segment_value, durations.days_since_signup

),

at_risk as (

    select
        *,
        sum(churned + censored) over (
            partition by churn_kind, segment_name, segment_value
            order by days_since_signup desc
            rows between unbounded preceding and current row
        ) as at_risk
    from per_day

),

-- the last one at risk may churn: survival is then zero, and its logarithm none
steps as (

    select
        *,
        case when churned = at_risk then 1 else 0 end as is_exhausted,
        case
            when churned < at_risk
                then ln(cast(at_risk - churned as double) / at_risk) else 0.0
        end as log_step,
        case
            when churned < at_risk
                then cast(churned as double) / (cast(at_risk as double) * (at_risk - churned)) else 0.0
        end as variance_step
    from at_risk

),

cumulated as (

    select
        *,
        max(is_exhausted) over (
            partition by churn_kind, segment_name, segment_value
            order by days_since_signup
            rows between unbounded preceding and current row
        ) as has_ended,
        sum(log_step) over (
            partition by churn_kind, segment_name, segment_value
            order by days_since_signup
            rows between unbounded preceding and current row
        ) as log_survival,
        sum(variance_step) over (
            partition by churn_kind, segment_name, segment_value
            order by days_since_signup
            rows between unbounded preceding and current row
        ) as variance
    from steps

),

final as (

    select
        cumulated.segment_name,
        cumulated.segment_value,
        cumulated.churn_kind,
        cast(cumulated.days_since_signup as bigint) as days_since_signup,
        {{ count_of('cumulated.at_risk') }} as at_risk,
        {{ count_of('cumulated.churned') }} as churned,
        {{ count_of('cumulated.censored') }} as censored,
        case when cumulated.has_ended = 1 then 0.0 else exp(cumulated.log_survival) end as survival_rate,
        {%- for name, sign in {'ci_low': '+', 'ci_high': '-'}.items() %}
        case
            when cumulated.has_ended = 1 then 0.0
            when cumulated.log_survival = 0 then 1.0
            else exp(-exp(
                ln(-cumulated.log_survival)
                {{ sign }} {{ z() }} * sqrt(cumulated.variance) / abs(cumulated.log_survival)
            ))
        end as {{ name }},
        {%- endfor %}
        horizon.as_of as observed_through
    from cumulated
    cross join {{ ref('horizon') }} as horizon

)

select * from final
