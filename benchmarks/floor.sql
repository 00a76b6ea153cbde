-- The marts of the KPI contract straight from three Parquet files, written by hand for files of this shape
-- and nothing else: no raw layer, no staging, no months, no tests, ids in their own types, every setting at
-- its default. The driver puts in the folder and the last day. See README.md beside this file.

set preserve_insertion_order = false;

create temp macro rate(part, whole) as part::double / nullif(whole, 0);
create temp macro z() as 1.959963984540054;
create temp macro wilson(part, whole, side) as
    (
        part::double + z() * z() / 2
        + side * z() * sqrt(part::double * (whole - part) / nullif(whole, 0) + z() * z() / 4)
    )
    / (nullif(whole, 0) + z() * z());
create temp macro wilson_low(part, whole) as if(part = 0 and whole > 0, 0.0, wilson(part, whole, -1));
create temp macro wilson_high(part, whole) as if(part = whole and whole > 0, 1.0, wilson(part, whole, 1));
create temp macro named(attribute) as coalesce(nullif(trim(attribute), ''), 'unknown');
create temp macro through() as date '__AS_OF__';
create temp macro month_of(day) as date_trunc('month', day)::date;
create temp macro months_after(day, months) as (day + to_months(months::integer))::date;
create temp macro seconds_of(duration) as if(duration > 0 and duration <= 86400, duration, null);

create temp view signups as
from read_parquet('__FOLDER__/user_signups.parquet', file_row_number = true);
create temp view events as
from read_parquet('__FOLDER__/user_engagement.parquet', file_row_number = true);
create temp view churn as
from read_parquet('__FOLDER__/churn_data.parquet', file_row_number = true);

-- users, and the combinations of their attributes -----------------------------------------------------------

create temp table first_signups as
select
    user_id,
    signup_date::date as signup_day,
    named(product_type) as product_type,
    named(acquisition_channel) as acquisition_channel,
    named(country) as country
from signups
where user_id is not null and signup_date < through() + 1
qualify row_number() over (partition by user_id order by signup_date, file_row_number) = 1;

create temp table cells as
select row_number() over ()::usmallint as cell, *
from (select distinct product_type, acquisition_channel, country from first_signups);

create temp table segments as
select cell, 'all' as segment_name, 'all' as segment_value from cells
union all select cell, 'product_type', product_type from cells
union all select cell, 'acquisition_channel', acquisition_channel from cells
union all select cell, 'country', country from cells;

create temp table users as
select user_id, signup_day, cell
from first_signups join cells using (product_type, acquisition_channel, country);

create temp table calendar as
select
    day,
    date_trunc('week', day)::date as week,
    month_of(day) as month,
    (year(day) * 12 + month(day))::integer as month_number,
    day(day)::integer as day_of_month,
    day(last_day(day))::integer as days_in_month
from (
    select unnest(generate_series(min(signup_day), through(), interval 1 day))::date as day from users
);

-- repeated deliveries: neighbours in the order of their ids -------------------------------------------------

create temp table duplicates as
with repeated as (
    select distinct event_id
    from (
        select event_id, lag(event_id) over (order by event_id) as previous
        from events where event_id is not null
    )
    where event_id = previous
)
select file_row_number
from events join users using (user_id)
where event_id in (from repeated) and engagement_date >= signup_day and engagement_date < through() + 1
qualify row_number() over (partition by event_id order by file_row_number) > 1;

-- active days, and the days since the one before ------------------------------------------------------------

create temp table days as
select
    user_id,
    cell,
    signup_day,
    day,
    sessions,
    session_seconds,
    (day - lag(day) over (partition by user_id order by day))::integer as gap
from (
    select
        user_id,
        engagement_date::date as day,
        count(*) as sessions,
        coalesce(sum(seconds_of(session_duration)::double), 0) as session_seconds
    from events anti join duplicates using (file_row_number)
    group by all
)
join users using (user_id)
where day between signup_day and through();

create table user_activity_daily as
select user_id, day as activity_date, sessions, session_seconds, through() as observed_through from days;

-- everything about days without users: how many had which gap before which day
create temp table gaps as
select cell, day, gap, count(*) as users, sum(sessions) as sessions from days group by all;

-- sessions by month, kind and duration, of which quantiles are picked; rows that are left out as a by-product
create temp table durations as
select
    case
        when users.user_id is null then 'orphan'
        when engagement_date < signup_day then 'before_signup'
        when engagement_date >= through() + 1 then 'after_as_of'
        when file_row_number in (from duplicates) then 'duplicate_event'
        else 'kept'
    end as reason,
    year(engagement_date) * 12 + month(engagement_date) as month_number,
    interaction_type,
    seconds_of(session_duration) as seconds,
    count(*) as sessions
from events left join users using (user_id)
where events.user_id is not null and engagement_date is not null
group by all;

-- one row per user ------------------------------------------------------------------------------------------

-- Sets of windows are bits: in `months` calendar months from bit 0 and relative months from bit 25; in
-- `spans` runs of 30 days from bit 0, then day N exactly, within 7 days, and on or after, nine bits each.
create temp table day_numbers as
select unnest([1, 3, 7, 14, 28, 30, 60, 90, 180]) as day_number, unnest(range(9))::integer as place;

create temp table tenures as
select
    tenure,
    bit_or(if(tenure // 30 <= 24, 1::bigint << (tenure // 30), 0))
    | bit_or(if(tenure = day_number, 1::bigint << (25 + place), 0))
    | bit_or(if(tenure between day_number and day_number + 6, 1::bigint << (34 + place), 0)) as spans,
    bit_or(if(tenure >= day_number, 1::bigint << (43 + place), 0)) as spans_of_last
from (select unnest(range(through() - min(signup_day) + 1))::integer as tenure from users), day_numbers
group by tenure;

create temp table activity as
select
    user_id,
    min(day) as first_active,
    max(day) as last_active,
    count(*) as active_days,
    sum(sessions)::bigint as sessions,
    max(if(gap > 28, day, null)) as last_return,
    count_if(gap > 28) as lapses,
    min(if(gap > 28, day - gap + 28, null)) as first_lapse,
    bit_or(
        if(month_number - signup_month_number <= 24, 1::bigint << (month_number - signup_month_number), 0)
        | if(months <= 24, 1::bigint << (25 + months), 0)
    ) as months,
    bit_or(spans) as spans
from (
    select
        days.*,
        on_day.month_number,
        on_signup.month_number as signup_month_number,
        on_day.month_number - on_signup.month_number
        - (on_day.day_of_month < least(on_signup.day_of_month, on_day.days_in_month))::integer as months,
        tenures.spans
    from days
    join calendar as on_day using (day)
    join calendar as on_signup on days.signup_day = on_signup.day
    join tenures on days.day - days.signup_day = tenures.tenure
)
group by user_id;

create temp table cancellations as
select user_id, min(churn_date::date) as first_churn, max(churn_date::date) as last_churn
from churn join users using (user_id)
where churn_date >= signup_day and churn_date < through() + 1
group by user_id;

create temp table returns as
select user_id, min(day) as first_return, max(day) as last_return
from (
    select user_id, day from days join cancellations using (user_id) where day > first_churn
    union all
    select user_id, signup_date::date from signups join cancellations using (user_id)
    where signup_date >= first_churn + 1 and signup_date < through() + 1
)
group by user_id;

create temp table history as
select
    *,
    coalesce(idle_churn, first_lapse, if(has_lapsed, last_active + 28, null)) as inactive_churn,
    (
        coalesce(lapses, 0)
        + (idle_churn is not null)::integer
        + (has_lapsed and last_active is not null)::integer
    )::bigint as inactive_churns
from (
    select
        users.*,
        product_type,
        acquisition_channel,
        country,
        first_active,
        last_active,
        coalesce(active_days, 0) as active_days,
        coalesce(sessions, 0) as sessions,
        lapses,
        first_lapse,
        -- the signup day starts the clock of inactivity
        if(
            coalesce(first_active - signup_day, 29) > 28 and signup_day + 28 <= through(),
            signup_day + 28,
            null
        ) as idle_churn,
        coalesce(last_active, signup_day) + 28 <= through() as has_lapsed,
        activity.last_return,
        first_churn,
        last_churn,
        first_return,
        returns.last_return as last_return_after_churn,
        coalesce(activity.months, 0) as months,
        coalesce(activity.spans | tenures.spans_of_last, 0) as spans
    from users
    join cells using (cell)
    left join activity using (user_id)
    left join tenures on last_active - signup_day = tenure
    left join cancellations using (user_id)
    left join returns using (user_id)
);

create table user_lifecycle as
select
    user_id,
    signup_day as signup_date,
    month_of(signup_day) as signup_month,
    product_type,
    acquisition_channel,
    country,
    first_active as first_active_date,
    last_active as last_active_date,
    active_days,
    sessions,
    through() - signup_day as days_since_signup,
    first_churn as declared_churn_date,
    inactive_churn as inactive_churn_date,
    inactive_churns as inactive_churn_count,
    has_lapsed as is_inactive,
    first_return as reactivated_date,
    case
        when last_churn >= coalesce(last_return_after_churn, first_churn) then 'churned'
        when has_lapsed then 'dormant'
        when signup_day + 28 > through() then 'new'
        when coalesce(last_return, if(idle_churn is null, null, first_active), first_return) > through() - 28
            then 'resurrected'
        else 'active'
    end as lifecycle_state,
    through() as observed_through
from history;

-- cohorts: what every signup day's windows are, and who of the users of a month was active in them ----------

create temp table windows as
select
    signup_day, kind, number, place, opens, closes, closes <= through() as is_over
from (
    select
        signup_day,
        kind,
        number,
        place,
        case kind
            when 'calendar_month' then months_after(month_of(signup_day), number)
            when 'relative_month' then months_after(signup_day, number)
            when 'days_30' then signup_day + 30 * number
            else signup_day + number
        end as opens,
        case kind
            when 'calendar_month' then months_after(month_of(signup_day), number + 1) - 1
            when 'relative_month' then months_after(signup_day, number + 1) - 1
            when 'days_30' then signup_day + 30 * number + 29
            when 'bracket_7' then signup_day + number + 6
            else signup_day + number
        end as closes
    from (select distinct signup_day from users), (
        select
            unnest(['calendar_month', 'relative_month', 'days_30']) as kind,
            number,
            number + unnest([0, 25, 64]) as place
        from (select unnest(range(25))::integer as number)
        union all select 'exact', day_number, 64 + 25 + place from day_numbers
        union all select 'bracket_7', day_number, 64 + 34 + place from day_numbers
        union all select 'unbounded', day_number, 64 + 43 + place from day_numbers
    )
);

create temp table retained as
with observed as (
    select
        signup_day,
        bit_or(if(is_over and place < 64, 1::bigint << place, 0)) as months,
        bit_or(if(is_over and place >= 64, 1::bigint << (place - 64), 0)) as spans
    from windows
    group by signup_day
),
active as (
    select
        cell,
        month_of(signup_day) as signup_month,
        history.months & observed.months as months,
        history.spans & observed.spans as spans,
        count(*) as users
    from history join observed using (signup_day)
    group by all
)
select cell, signup_month, place, sum(users) as users
from (
    select cell, signup_month, place, users
    from active, (select unnest(range(50))::integer as place) where (months >> place) & 1 = 1
    union all
    select cell, signup_month, 64 + place, users
    from active, (select unnest(range(52))::integer as place) where (spans >> place) & 1 = 1
)
group by all;

create temp table cohorts as
with members as (
    select segment_name, segment_value, signup_day, sum(users) as users
    from (select cell, signup_day, count(*) as users from users group by all) join segments using (cell)
    group by all
),
sizes as (
    select
        segment_name,
        segment_value,
        month_of(signup_day) as signup_month,
        kind,
        number,
        place,
        sum(users)::bigint as cohort_size,
        sum(if(is_over, users, 0))::bigint as eligible,
        min(opens) as opens
    from members join windows using (signup_day)
    group by all
),
active as (
    select segment_name, segment_value, signup_month, place, sum(users)::bigint as retained
    from retained join segments using (cell)
    group by all
)
select sizes.*, coalesce(retained, 0) as retained
from sizes left join active using (segment_name, segment_value, signup_month, place);

create table cohort_retention as
select
    segment_name,
    segment_value,
    signup_month,
    kind as period_kind,
    number as period_number,
    cohort_size,
    eligible as eligible_users,
    retained as retained_users,
    if(eligible = cohort_size, rate(retained, eligible), null) as retention_rate,
    rate(retained, eligible) as retention_rate_eligible,
    wilson_low(retained, eligible) as ci_low,
    wilson_high(retained, eligible) as ci_high,
    eligible = cohort_size as is_complete,
    through() as observed_through
from cohorts
where kind in ('calendar_month', 'relative_month', 'days_30') and opens <= through();

create table day_n_retention as
select
    segment_name,
    segment_value,
    kind as retention_kind,
    number as day_number,
    sum(eligible)::bigint as eligible_users,
    sum(retained)::bigint as retained_users,
    rate(sum(retained), sum(eligible)) as retention_rate,
    wilson_low(sum(retained), sum(eligible)) as ci_low,
    wilson_high(sum(retained), sum(eligible)) as ci_high,
    through() as observed_through
from cohorts
where kind in ('exact', 'bracket_7', 'unbounded')
group by segment_name, segment_value, kind, number;

-- active users: a state opens where the gap before a day is longer than its window, and closes a window after
-- the last day before such a gap ----------------------------------------------------------------------------

create temp table last_days as
select cell, last_active as day, count(*) as users from history where last_active is not null group by all;

create table active_users_daily as
with changes as (
    select
        cell,
        day,
        sum(users) as dau,
        sum(if(coalesce(gap, 8) > 7, users, 0)) as wau,
        sum(if(coalesce(gap, 29) > 28, users, 0)) as opened,
        sum(if(gap is null, users, 0)) as new_users,
        0 as closed
    from gaps group by cell, day
    union all
    select cell, day - gap + 7, 0, -sum(users), 0, 0, 0 from gaps where gap > 7 group by all
    union all
    select cell, day + 7, 0, -users, 0, 0, 0 from last_days
    union all
    select cell, day - gap + 28, 0, 0, 0, 0, sum(users) from gaps where gap > 28 group by all
    union all
    select cell, day + 28, 0, 0, 0, 0, users from last_days
),
totals as (
    select
        segment_name,
        segment_value,
        day,
        sum(dau)::bigint as dau,
        sum(wau)::bigint as wau,
        sum(opened)::bigint as opened,
        sum(new_users)::bigint as new_users,
        sum(closed)::bigint as closed
    from (select cell, day, sum(columns(* exclude (cell, day))) from changes group by all) as changes(
        cell, day, dau, wau, opened, new_users, closed
    )
    join segments using (cell)
    group by all
)
select
    segment_name,
    segment_value,
    day as activity_date,
    coalesce(dau, 0) as dau,
    (sum(coalesce(wau, 0)) over so_far)::bigint as wau,
    (sum(coalesce(opened - closed, 0)) over so_far)::bigint as mau,
    rate(coalesce(dau, 0), mau) as stickiness,
    coalesce(new_users, 0) as new_users,
    coalesce(opened - new_users, 0) as resurrected_users,
    coalesce(closed, 0) as churned_users,
    through() as observed_through
from calendar
cross join (select distinct segment_name, segment_value from segments)
left join totals using (segment_name, segment_value, day)
window so_far as (partition by segment_name, segment_value order by day);

-- growth, and how often users come --------------------------------------------------------------------------

create temp table periods as
select
    kind,
    period,
    count(*) as observed_days,
    period >= min(min(day)) over () and period_end <= through() as is_complete
from (
    select day, 'week' as kind, week as period, week + 6 as period_end from calendar
    union all
    select day, 'month', month, months_after(month, 1) - 1 from calendar
)
group by kind, period, period_end;

create temp table growth as
with moves as (
    select
        cell,
        now.week as week,
        now.month as month,
        before.week as week_before,
        before.month as month_before,
        sum(users) as active_days,
        sum(sessions) as sessions
    from gaps
    join calendar as now using (day)
    left join calendar as before on gaps.day - gaps.gap = before.day
    group by all
),
steps as (
    select
        cell,
        'week' as kind,
        week as period,
        week_before as before,
        week - 7 as previous,
        active_days,
        0 as sessions
    from moves
    union all
    select cell, 'month', month, month_before, months_after(month, -1), active_days, sessions from moves
),
leavers as (
    select cell, kind, before as period, active_days as users from steps where before < previous
    union all
    select cell, 'week', week, users from last_days join calendar using (day)
    union all
    select cell, 'month', month, users from last_days join calendar using (day)
),
changes as (
    select
        cell,
        kind,
        period,
        active_days,
        sessions,
        if(before is null, active_days, 0) as new_users,
        if(before = previous, active_days, 0) as retained_users,
        if(before < previous, active_days, 0) as resurrected_users,
        0 as churned_users
    from steps
    union all
    select cell, kind, if(kind = 'week', period + 7, months_after(period, 1)), 0, 0, 0, 0, 0, users
    from leavers
),
totals as (
    select
        segment_name,
        segment_value,
        kind,
        period,
        sum(active_days)::bigint as active_days,
        sum(sessions)::bigint as sessions,
        sum(new_users)::bigint as new_users,
        sum(retained_users)::bigint as retained_users,
        sum(resurrected_users)::bigint as resurrected_users,
        sum(churned_users)::bigint as churned_users
    from changes join segments using (cell)
    group by all
)
select
    segment_name,
    segment_value,
    kind,
    period,
    observed_days,
    is_complete,
    coalesce(active_days, 0) as active_days,
    coalesce(sessions, 0) as sessions,
    coalesce(new_users, 0) as new_users,
    coalesce(retained_users, 0) as retained_users,
    coalesce(resurrected_users, 0) as resurrected_users,
    coalesce(churned_users, 0) as churned_users,
    coalesce(new_users + retained_users + resurrected_users, 0) as active_users
from (select distinct segment_name, segment_value from segments)
cross join periods
left join totals using (segment_name, segment_value, kind, period);

create table growth_accounting as
select
    segment_name,
    segment_value,
    kind as period_kind,
    period as period_start,
    active_users,
    new_users,
    retained_users,
    resurrected_users,
    churned_users,
    rate(new_users + resurrected_users, churned_users) as quick_ratio,
    rate(active_days, active_users) as active_days_per_user,
    rate(active_days, observed_days) as average_dau,
    is_complete,
    through() as observed_through
from growth;

create table engagement_frequency as
with counted as (
    select segment_name, segment_value, month, gap, sum(users) as n
    from (
        select cell, month, gap, sum(users) as users
        from gaps join calendar using (day)
        where gap > 0
        group by all
    )
    join segments using (cell)
    group by all
),
ranked as (
    select
        *,
        sum(n) over (partition by segment_name, segment_value, month order by gap) as up_to,
        sum(n) over (partition by segment_name, segment_value, month) as total
    from counted
),
medians as (
    select
        segment_name,
        segment_value,
        month as period,
        (min(if(2 * up_to >= total, gap, null)) + min(if(2 * up_to > total, gap, null))) / 2.0 as median
    from ranked group by segment_name, segment_value, month
)
select
    segment_name,
    segment_value,
    period as month,
    active_users,
    rate(active_days, active_users) as active_days_per_user,
    rate(sessions, active_users) as sessions_per_user,
    rate(sessions, active_days) as sessions_per_active_day,
    median::double as median_days_between_active_days,
    is_complete,
    through() as observed_through
from growth left join medians using (segment_name, segment_value, period)
where kind = 'month';

-- churn -----------------------------------------------------------------------------------------------------

create temp table churned as
select 'declared' as kind, cell, signup_day, first_churn as churn_day, count(*) as users
from history group by all
union all
select 'inactive', cell, signup_day, inactive_churn, count(*)
from history group by all;

create table churn_reasons as
with given as (
    select cell, month_of(churn_date::date) as month, named(churn_reason) as churn_reason
    from churn join users using (user_id)
    where churn_date >= signup_day and churn_date < through() + 1
    qualify row_number() over (partition by user_id order by churn_date, file_row_number) = 1
)
select
    segment_name,
    segment_value,
    month,
    churn_reason,
    count(*) as churned_users,
    count(*) / sum(count(*)) over (partition by segment_name, segment_value, month) as share,
    through() as observed_through
from given join segments using (cell)
group by segment_name, segment_value, month, churn_reason;

create table churn_monthly as
with flows as (
    select kind, cell, signup.month as joined, leaving.month as left_in, sum(users) as users
    from churned
    join calendar as signup on signup_day = signup.day
    left join calendar as leaving on churn_day = leaving.day
    group by all
),
changes as (
    select
        kind,
        cell,
        joined as month,
        users as joined,
        0 as gone,
        0 as churned,
        if(left_in = joined, users, 0) as same
    from flows
    union all
    select kind, cell, left_in, 0, users, if(left_in > joined, users, 0), 0
    from flows where left_in is not null
),
totals as (
    select
        kind,
        segment_name,
        segment_value,
        month,
        sum(joined) as joined,
        sum(gone) as gone,
        sum(churned)::bigint as churned,
        sum(same)::bigint as same
    from changes join segments using (cell)
    group by all
),
bases as (
    select
        segment_name,
        segment_value,
        kinds.kind,
        period,
        is_complete,
        coalesce(churned, 0) as churned,
        coalesce(same, 0) as same,
        coalesce(sum(coalesce(joined - gone, 0)) over (
            partition by segment_name, segment_value, kinds.kind order by period
            rows between unbounded preceding and 1 preceding
        ), 0)::bigint as base
    from (select distinct segment_name, segment_value from segments)
    cross join (select unnest(['declared', 'inactive']) as kind) as kinds
    cross join (select period, is_complete from periods where kind = 'month') as months
    left join (select * rename (month as period) from totals) as totals
        using (segment_name, segment_value, kind, period)
)
select
    segment_name,
    segment_value,
    kind as churn_kind,
    period as month,
    base as users_at_start,
    churned as churned_users,
    rate(churned, base) as churn_rate,
    wilson_low(churned, base) as ci_low,
    wilson_high(churned, base) as ci_high,
    same as churned_same_month,
    is_complete and period >= (select month_of(min(day)) from calendar) as is_complete,
    through() as observed_through
from bases;

create table survival as
with spells as (
    select
        kind,
        cell,
        coalesce(churn_day, through()) - signup_day as days,
        churn_day is not null as is_churn,
        sum(users) as users
    from churned
    group by all
),
per_day as (
    select
        kind,
        segment_name,
        segment_value,
        days,
        sum(if(is_churn, users, 0)) as churned,
        sum(if(is_churn, 0, users)) as censored
    from spells join segments using (cell)
    group by all
),
at_risk as (
    select
        *,
        sum(churned + censored) over (
            partition by kind, segment_name, segment_value order by days desc
        ) as at_risk
    from per_day
),
curves as (
    select
        *,
        bool_or(churned = at_risk) over so_far as has_ended,
        sum(if(churned < at_risk, ln((at_risk - churned)::double / at_risk), 0.0)) over so_far
            as log_survival,
        sum(if(churned < at_risk, churned::double / (at_risk::double * (at_risk - churned)), 0.0)) over so_far
            as variance
    from at_risk
    window so_far as (partition by kind, segment_name, segment_value order by days)
)
select
    segment_name,
    segment_value,
    kind as churn_kind,
    days as days_since_signup,
    at_risk::bigint as at_risk,
    churned::bigint as churned,
    censored::bigint as censored,
    if(has_ended, 0.0, exp(log_survival)) as survival_rate,
    case
        when has_ended then 0.0
        when log_survival = 0 then 1.0
        else exp(-exp(ln(-log_survival) + z() * sqrt(variance) / abs(log_survival)))
    end as ci_low,
    case
        when has_ended then 0.0
        when log_survival = 0 then 1.0
        else exp(-exp(ln(-log_survival) - z() * sqrt(variance) / abs(log_survival)))
    end as ci_high,
    through() as observed_through
from curves;

-- sessions: ranks in the counted durations of each group ----------------------------------------------------

create temp table session_counts as
select month_number, named(interaction_type) as interaction_type, seconds, sum(sessions)::bigint as sessions
from durations where reason = 'kept'
group by all;

create temp table session_ranks as
with grouped as (
    select
        month_number,
        if(grouping(interaction_type) = 1, 'all', interaction_type) as interaction_type,
        seconds,
        sum(sessions) as sessions
    from session_counts
    group by grouping sets ((month_number, interaction_type, seconds), (month_number, seconds), (seconds))
)
select
    *,
    make_date(((month_number - 1) // 12)::integer, ((month_number - 1) % 12 + 1)::integer, 1) as month,
    sum(if(seconds is null, 0, sessions)) over (
        partition by month_number, interaction_type order by seconds nulls last
    )::bigint as up_to,
    sum(if(seconds is null, 0, sessions)) over (partition by month_number, interaction_type)::bigint as n
from grouped;

create table session_metrics as
with picked as (
    select
        month,
        interaction_type,
        any_value(n) as sessions,
        sum(sessions * seconds) as total,
        sum(if(seconds is null, sessions, 0))::bigint as excluded,
        min(if(up_to > floor(0.5 * (n - 1)), seconds, null)) as median_low,
        min(if(up_to > ceil(0.5 * (n - 1)), seconds, null)) as median_high,
        min(if(up_to > floor(0.9 * (n - 1)), seconds, null)) as p90_low,
        min(if(up_to > ceil(0.9 * (n - 1)), seconds, null)) as p90_high
    from session_ranks
    group by all
)
select
    month,
    interaction_type,
    sessions,
    rate(total, sessions) as average_session_seconds,
    median_low + (median_high - median_low) * (0.5 * (sessions - 1) % 1)::double as median_session_seconds,
    p90_low + (p90_high - p90_low) * (0.9 * (sessions - 1) % 1)::double as p90_session_seconds,
    excluded as excluded_sessions,
    through() as observed_through
from picked;

-- what became of every row ----------------------------------------------------------------------------------

create table data_quality as
with engagement as (
    select reason, sum(sessions) as n from durations group by reason
    union all
    select 'null_user_id', count(*) from events where user_id is null and engagement_date is not null
    union all
    select 'null_date', count(*) from events where engagement_date is null and user_id is not null
    union all
    select 'total', count(*) from events
    union all
    select 'identical_row', sum(n - 1)
    from (
        select count(*) as n
        from events join users using (user_id)
        where event_id is null and engagement_date >= signup_day and engagement_date < through() + 1
        group by user_id, engagement_date, session_duration, interaction_type, device_type
    )
),
first_users as (
    select
        case
            when user_id is null then 'null_user_id'
            when signup_date is null then 'null_date'
            when signup_date >= through() + 1 then 'after_as_of'
            else 'dated'
        end as reason,
        count(*) as n
    from signups group by all
),
cancelled as (
    select
        case
            when churn.user_id is null then 'null_user_id'
            when churn_date is null then 'null_date'
            when users.user_id is null then 'orphan'
            when churn_date < signup_day then 'before_signup'
            when churn_date >= through() + 1 then 'after_as_of'
            else 'valid'
        end as reason,
        count(*) as n,
        count(distinct churn.user_id) as users
    from churn left join users using (user_id) group by all
),
found as (
    select 'user_engagement' as table_name, reason, n from engagement
    union all select 'user_signups', reason, n from first_users where reason <> 'dated'
    union all select 'user_signups', 'kept', count(*) from users
    union all select 'user_signups', 'duplicate_user', n - (select count(*) from users) from first_users
    where reason = 'dated'
    union all select 'user_signups', 'total', sum(n) from first_users
    union all select 'churn_data', reason, n from cancelled where reason <> 'valid'
    union all select 'churn_data', 'kept', users from cancelled where reason = 'valid'
    union all select 'churn_data', 'duplicate_churn', n - users from cancelled where reason = 'valid'
    union all select 'churn_data', 'total', sum(n) from cancelled
),
reasons as (
    select
        'user_signups' as table_name,
        unnest([
            'null_user_id', 'null_date', 'unparseable_date', 'after_as_of', 'duplicate_user', 'kept', 'total'
        ]) as reason
    union all
    select
        'user_engagement',
        unnest([
            'null_user_id', 'null_date', 'unparseable_date', 'orphan', 'before_signup', 'after_as_of',
            'duplicate_event', 'identical_row', 'kept', 'total'
        ])
    union all
    select
        'churn_data',
        unnest([
            'null_user_id', 'null_date', 'unparseable_date', 'orphan', 'before_signup', 'after_as_of',
            'duplicate_churn', 'kept', 'total'
        ])
)
select table_name, reason, coalesce(n, 0)::bigint as rows, through() as observed_through
from reasons left join found using (table_name, reason);

-- the KPIs, each for its period and the one before ----------------------------------------------------------

create table kpi_summary as
with month_slots as (
    select unnest(['current', 'previous']) as slot, unnest([month, months_after(month, -1)]) as month
    from (select max(period) as month from periods where kind = 'month' and is_complete)
),
day_slots as (
    select
        unnest(['current', 'previous']) as slot,
        unnest([through(), months_after(through(), -1)]) as last_day
),
churn as (
    select
        'churn_rate_' || churn_kind as kpi,
        slot,
        churn_rate as value,
        churned_users::double as numerator,
        users_at_start as denominator,
        ci_low,
        ci_high,
        month as period_start,
        months_after(month, 1) - 1 as period_end
    from month_slots join churn_monthly using (month)
    where segment_name = 'all'
),
retention as (
    select
        'retention_' || k || '_month' as kpi,
        slot,
        rate(active, n) as value,
        active::double as numerator,
        n as denominator,
        wilson_low(active, n) as ci_low,
        wilson_high(active, n) as ci_high,
        first_signup as period_start,
        last_signup as period_end
    from (
        select
            k,
            slot,
            count(*) as n,
            count_if((months >> (25 + k)) & 1 = 1) as active,
            min(signup_day) as first_signup,
            max(signup_day) as last_signup
        from history join windows using (signup_day), day_slots, (select unnest([1, 6])::integer as k)
        where kind = 'relative_month' and number = k and closes <= last_day
        group by all
    )
),
daily as (
    select activity_date as day, dau, wau, mau, stickiness from active_users_daily
    where segment_name = 'all'
),
active_users as (
    select
        kpi,
        if(day = through(), 'current', 'previous') as slot,
        value,
        if(kpi = 'stickiness', dau, value) as numerator,
        if(kpi = 'stickiness', mau, null) as denominator,
        if(kpi = 'stickiness', wilson_low(dau, mau), null) as ci_low,
        if(kpi = 'stickiness', wilson_high(dau, mau), null) as ci_high,
        day + 1 - span as period_start,
        day as period_end
    from (
        select 'dau' as kpi, dau::double as value, 1 as span, 7 as back, daily.* from daily
        union all select 'wau', wau, 7, 7, daily.* from daily
        union all select 'mau', mau, 28, 28, daily.* from daily
        union all select 'stickiness', stickiness, 1, 7, daily.* from daily
    )
    where day in (through(), through() - back)
),
per_user as (
    select
        slot,
        month,
        count(*) as n,
        sum(sessions) as sessions,
        sum(sessions * sessions) as sessions_squared,
        sum(active_days) as active_days,
        sum(active_days * active_days) as active_days_squared
    from (
        select slot, month, user_id, sum(sessions) as sessions, count(*) as active_days
        from days join calendar using (day) join month_slots using (month)
        group by all
    )
    group by all
),
frequency as (
    select
        kpi,
        slot,
        rate(total, n) as value,
        total::double as numerator,
        n as denominator,
        rate(total, n) - margin as ci_low,
        rate(total, n) + margin as ci_high,
        month as period_start,
        months_after(month, 1) - 1 as period_end
    from (
        select
            *,
            z() * sqrt(greatest(0, (squares::double - total::double * total / n) / nullif(n - 1, 0) / n))
                as margin
        from (
            select 'sessions_per_user' as kpi, slot, month, n, sessions as total, sessions_squared as squares
            from per_user
            union all
            select 'active_days_per_user', slot, month, n, active_days, active_days_squared from per_user
        )
    )
),
moments as (
    select
        *,
        z() * sqrt((squares - total * total / n) / nullif(n - 1, 0)) / sqrt(n) as margin
    from (
        select
            slot,
            month,
            sum(sessions)::bigint as n,
            sum(sessions * seconds)::double as total,
            sum(sessions::double * seconds * seconds) as squares
        from month_slots join session_ranks using (month)
        where interaction_type = 'all' and seconds is not null
        group by all
    )
),
average_duration as (
    select
        'average_session_duration' as kpi,
        slot,
        rate(total, n) as value,
        total as numerator,
        n as denominator,
        round(rate(total, n) - margin, 6) as ci_low,
        round(rate(total, n) + margin, 6) as ci_high,
        month as period_start,
        months_after(month, 1) - 1 as period_end
    from moments
),
counted as (
    select
        'median_session_duration' as kpi,
        slot,
        seconds::double as value,
        sessions as times,
        month as period_start,
        months_after(month, 1) - 1 as period_end
    from month_slots join session_ranks using (month)
    where interaction_type = 'all' and seconds is not null
    union all
    select 'median_days_since_signup', slot, last_day - signup_day, count(*), last_day, last_day
    from day_slots join users on signup_day <= last_day
    group by all
),
ranked as (
    select
        *,
        sum(times) over (partition by kpi, slot order by value) as up_to,
        sum(times) over (partition by kpi, slot) as n
    from counted
),
medians as (
    select
        kpi,
        slot,
        (
            min(if(up_to >= floor((n + 1) / 2), value, null))
            + min(if(up_to >= ceil((n + 1) / 2), value, null))
        ) / 2 as value,
        null::double as numerator,
        n::bigint as denominator,
        min(if(up_to >= greatest(1, floor(n / 2 - z() * sqrt(n) / 2)), value, null)) as ci_low,
        min(if(up_to >= least(n, ceil(n / 2 + z() * sqrt(n) / 2) + 1), value, null)) as ci_high,
        period_start,
        period_end
    from ranked
    group by kpi, slot, n, period_start, period_end
),
measured as (
    from churn union all from retention union all from active_users union all from frequency
    union all from average_duration union all from medians
),
definitions as (
    select * from (values
        (
            'churn_rate_declared', 'Churn rate (declared)', 'rate',
            'Users who cancelled for the first time in the last complete month, among those who had '
            || 'signed up before it and not yet cancelled at its start.'
        ),
        (
            'churn_rate_inactive', 'Churn rate (inactive)', 'rate',
            'Users who in the last complete month reached 28 days without activity for the first time, '
            || 'among those who had signed up before it and not yet done so at its start.'
        ),
        (
            'retention_1_month', 'Retention after 1 month', 'rate',
            'Users active between 1 and 2 months after signup, among those whose second month is over. '
            || 'Previous: the same one month earlier.'
        ),
        (
            'retention_6_month', 'Retention after 6 months', 'rate',
            'Users active between 6 and 7 months after signup, among those whose seventh month is over. '
            || 'Previous: the same one month earlier.'
        ),
        (
            'dau', 'Daily active users', 'users',
            'Distinct users active on the last complete day. Previous: the same day a week earlier. An '
            || 'exact count has no interval.'
        ),
        (
            'wau', 'Weekly active users', 'users',
            'Distinct users active in the last 7 days. Previous: the 7 days before. An exact count has no '
            || 'interval.'
        ),
        (
            'mau', 'Monthly active users', 'users',
            'Distinct users active in the last 28 days. Previous: the 28 days before. An exact count has '
            || 'no interval.'
        ),
        (
            'stickiness', 'Stickiness (DAU / MAU)', 'rate',
            'Daily over monthly active users on the last complete day. Previous: the same day a week '
            || 'earlier.'
        ),
        (
            'sessions_per_user', 'Sessions per user', 'sessions',
            'Sessions in the last complete month per user active in it.'
        ),
        (
            'active_days_per_user', 'Active days per user', 'days',
            'Active days in the last complete month per user active in it.'
        ),
        (
            'average_session_duration', 'Average session duration', 'seconds',
            'Mean duration of the sessions of the last complete month that have a believable one.'
        ),
        (
            'median_session_duration', 'Median session duration', 'seconds',
            'Median duration of the sessions of the last complete month that have a believable one; '
            || 'interval from order statistics.'
        ),
        (
            'median_days_since_signup', 'Median days since signup', 'days',
            'Median over all users of the days from signup to the last complete day. Previous: the same '
            || 'one month earlier.'
        )
    ) as _(kpi, label, unit, definition)
)
select
    kpi,
    label,
    latest.value,
    unit,
    latest.numerator,
    latest.denominator,
    latest.ci_low,
    latest.ci_high,
    latest.period_start,
    latest.period_end,
    earlier.value as previous_value,
    latest.value - earlier.value as change,
    definition,
    through() as observed_through
from definitions
left join (from measured where slot = 'current') as latest using (kpi)
left join (from measured where slot = 'previous') as earlier using (kpi);
