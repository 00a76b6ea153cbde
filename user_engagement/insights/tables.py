"""What the published insight tables hold: their columns, with types and meaning, in order."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from user_engagement.insights.brief import DECLINE_BRIEF, ENGAGEMENT_BRIDGE, FINDING_SERIES
from user_engagement.insights.schema import COUNT, DAY, FLAG, NUMBER, TEXT, Table

COMPARED_WEEKS = 4  # of either period


OF_USERS = ("at_risk_users",)
"""Tables with a row per user: they are stored apart from the others, and not exported."""
OBSERVED = {"observed_through": (DAY, "Last complete day of data.")}
SEGMENT = {
    "segment_name": (TEXT, "The attribute that the row is about, `all` for everybody."),
    "segment_value": (TEXT, "Its value, `all` for everybody, `other` for sparse values together."),
}
TESTED = {
    "p_value": (NUMBER, "p-value."),
    "q_value": (NUMBER, "Benjamini-Hochberg adjusted p-value over the table."),
    "is_significant": (FLAG, "q_value < 0.05."),
}


def _interval(of: str) -> dict[str, tuple[pa.DataType, str]]:
    return {
        "ci_low": (NUMBER, f"Lower 95 % bound of {of}."),
        "ci_high": (NUMBER, f"Upper 95 % bound of {of}."),
    }


def _compared(what: str, kind: pa.DataType = NUMBER) -> dict[str, tuple[pa.DataType, str]]:
    name = what.split()[0]
    return {
        f"{name}_before": (kind, f"{what.replace('_', ' ').capitalize()}, in the period before."),
        f"{name}_after": (kind, f"{what.replace('_', ' ').capitalize()}, in the period after."),
    }


TABLES = {
    "decline_brief": DECLINE_BRIEF,
    "finding_series": FINDING_SERIES,
    "engagement_bridge": ENGAGEMENT_BRIDGE,
    "growth_change": Table(
        "Acquisition or loss? The flows of users between the last weeks of the two periods; they add up exactly.",
        ("segment_name", "segment_value"),
        {
            **SEGMENT,
            "before_week": (DAY, "Monday of the last week of the period before."),
            "after_week": (DAY, "Monday of the last week of the period after."),
            "active_before": (COUNT, "Users active in before_week."),
            "active_after": (COUNT, "Users active in after_week."),
            "new_users": (
                COUNT,
                "First ever active, over the weeks from before_week (not included) to after_week.",
            ),
            "resurrected_users": (COUNT, "Back after a week without activity or more, over the same weeks."),
            "churned_users": (COUNT, "Active in a week and absent in the next, over the same weeks."),
            "change": (COUNT, "active_after - active_before = new + resurrected - churned users."),
            **_compared("new_per_week (mean over the period's weeks)"),
            **_compared("resurrected_per_week (mean over the period's weeks)"),
            **_compared("churned_per_week (mean over the period's weeks)"),
            **_compared("loss_rate (share of a week's active users who are absent in the next)"),
            "loss_rate_change": (NUMBER, "Difference of the loss rates."),
            **_interval("loss_rate_change"),
            "main_driver": (
                TEXT,
                "Flow whose change moves the weekly net flow most: new, resurrected or churned.",
            ),
        },
    ),
    "change_decomposition": Table(
        "Mix or behaviour? Exact Shapley decomposition of each metric's change.",
        ("metric", "dimension", "inner_dimension", "effect", "segment_value"),
        {
            "metric": (TEXT, "activation, new_user_retention, retention, churn or frequency."),
            "dimension": (TEXT, "Segment, main_device or tenure; the outer one of two."),
            "inner_dimension": (TEXT, "Dimension nested in it; null for one dimension."),
            "effect": (TEXT, "`total` = `mix` + `inner_mix` + `behaviour`, exactly."),
            "segment_value": (TEXT, "`all` for the sum; a value of the dimension, where it is alone."),
            **_compared("value of the metric"),
            **_compared("users in the denominator", COUNT),
            **_compared("share of the users"),
            "contribution": (NUMBER, "Part of the change, in the metric's unit."),
            **_interval("the contribution, by bootstrap over users"),
            "share_of_change": (NUMBER, "Contribution over total."),
            "rank": (COUNT, "Per metric, by size, of summed effects other than total; else null."),
        },
    ),
    "contributions": Table(
        "Who and where? What each cell adds to the change of weekly active users and of sessions a week. Cells of one "
        "segment_name add up to the change; segment_names overlap, as each parts the same users.",
        ("metric", "segment_name", "segment_value", "tenure", "interaction_type"),
        {
            "metric": (TEXT, "weekly_active_users or sessions."),
            **SEGMENT,
            "tenure": (TEXT, "Days since signup on the period's first day; `new` signed up within it."),
            "interaction_type": (
                TEXT,
                "Of the session; of most of a user's sessions for weekly_active_users.",
            ),
            **_compared("value of a week"),
            "contribution": (NUMBER, "value_after - value_before."),
            "share_of_change": (NUMBER, "Contribution over the total change."),
            "expected": (NUMBER, "value_before times the growth of the total."),
            "excess": (NUMBER, "value_after - expected: negative is behind the rest."),
            **_interval("the excess"),
            **TESTED,
            "is_pooled": (FLAG, "Whether the row holds the sparse cells together."),
            **_compared("users in the cell", COUNT),
            "rank": (COUNT, "Per metric, the largest shortfall first."),
        },
    ),
    "first_week": Table(
        "What do users who stay do first? First-week behaviours against later activity: an association.",
        ("behaviour",),
        {
            "behaviour": (TEXT, "On days 0 to 6 since signup, in words."),
            "outcome": (TEXT, "What it is held against, in words."),
            "users_with": (COUNT, "Users who showed it."),
            "retained_with": (COUNT, "Of them with the outcome."),
            "rate_with": (NUMBER, "retained_with over users_with."),
            "users_without": (COUNT, "Users who did not."),
            "retained_without": (COUNT, "Of them with the outcome."),
            "rate_without": (NUMBER, "retained_without over users_without."),
            "difference": (NUMBER, "rate_with - rate_without."),
            **_interval("the difference (Newcombe)"),
            "adjusted_difference": (
                NUMBER,
                "The same at equal segments and month of signup (Mantel-Haenszel).",
            ),
            "adjusted_low": (NUMBER, "Lower 95 % bound of it."),
            "adjusted_high": (NUMBER, "Upper 95 % bound of it."),
            **TESTED,
            "rank": (COUNT, "By adjusted_difference, largest first."),
            "reading": (TEXT, "`association`: no proof that doing it keeps users."),
        },
    ),
    "first_week_retention": Table(
        "How do users go on after their first week, by what they did in it? An association.",
        ("behaviour", "showed_it", "week_number"),
        {
            "behaviour": (TEXT, "On days 0 to 6 since signup, in words; `all` for all users."),
            "showed_it": (FLAG, "Whether the row is about users who showed it, or about the others."),
            "week_number": (COUNT, "Week since signup: days 7 to 13 are week 1."),
            "eligible_users": (COUNT, "Users who have completed the week."),
            "retained_users": (COUNT, "Of them active in it."),
            "retention_rate": (NUMBER, "retained_users over eligible_users."),
            **_interval("the retention rate (exact below 100 users, else Wilson)"),
        },
    ),
    "survival_tests": Table(
        "Is the difference real? Log-rank tests of equal survival in a segment's values.",
        ("churn_kind", "segment_name"),
        {
            "churn_kind": (TEXT, "`declared` or `inactive`."),
            "segment_name": (TEXT, "The segment."),
            "compared_values": (COUNT, "Values compared."),
            "users": (COUNT, "Users in all."),
            "churned": (COUNT, "Of them churned; the others are censored at the horizon."),
            "statistic": (NUMBER, "Chi-square."),
            "degrees_of_freedom": (COUNT, "Of it."),
            **TESTED,
        },
    ),
    "hazard_ratios": Table(
        "Cox regression: the hazard of each segment value relative to the most frequent one, all segments at once.",
        ("churn_kind", "segment_name", "segment_value"),
        {
            "churn_kind": (TEXT, "`declared` or `inactive`."),
            **SEGMENT,
            "reference_value": (TEXT, "Value that it is compared with."),
            "hazard_ratio": (NUMBER, "Above 1: churns sooner."),
            **_interval("the hazard ratio"),
            **TESTED,
            "proportionality_p_value": (
                NUMBER,
                "Small: the ratio differs between tenures; read it as a mean.",
            ),
            "users": (COUNT, "Users of the value in the model."),
            "churned": (COUNT, "Of them churned."),
        },
    ),
    "tenure_hazards": Table(
        "Hazard of churn by days since signup.",
        ("churn_kind", "segment_name", "segment_value", "tenure"),
        {
            "churn_kind": (TEXT, "`declared` or `inactive`."),
            **SEGMENT,
            "tenure": (TEXT, "Band of days since signup."),
            "tenure_days": (COUNT, "Its first day, to sort by."),
            "user_days": (COUNT, "Days at risk of all users."),
            "churned": (COUNT, "Churned in the band."),
            "hazard": (NUMBER, "Churned per user and 28 days at risk."),
            **_interval("the hazard"),
        },
    ),
    "risk_evaluation": Table(
        "How good is the prediction of inactivity? Judged on days that it was not fitted on.",
        ("measure",),
        {
            "measure": (
                TEXT,
                "auc, auc_recency_alone, lift_top_decile, brier_score, brier_score_base_rate or base_rate.",
            ),
            "value": (NUMBER, "Its value."),
            **_interval("it"),
            "users": (COUNT, "Users judged on."),
            "inactive_users": (COUNT, "Of them inactive in the 28 days that followed."),
            "fitted_on": (DAY, "Last day of the features fitted on; outcomes are the 28 days after."),
            "evaluated_on": (DAY, "Last day of the features judged on; outcomes are the 28 days after."),
        },
    ),
    "risk_calibration": Table(
        "Predicted against observed inactivity, by decile of the prediction.",
        ("decile",),
        {
            "decile": (COUNT, "1 is the lowest risk."),
            "users": (COUNT, "Users."),
            "predicted_rate": (NUMBER, "Mean prediction."),
            "observed_rate": (NUMBER, "Share inactive in the 28 days that followed."),
            **_interval("the observed rate (exact below 100 users, else Wilson)"),
        },
    ),
    "at_risk_users": Table(
        "Active users most likely to do nothing in the next 28 days, at most 500.",
        ("rank",),
        {
            "rank": (COUNT, "1 is most at risk."),
            "user_number": (
                COUNT,
                "The user; `user_level.user_numbers` has the id, published is a keyed hash of that.",
            ),
            "probability": (NUMBER, "Of no activity in the next 28 days."),
            "days_since_last_active": (COUNT, "Days."),
            "usual_gap_days": (NUMBER, "Mean days between the user's active days; null with one active day."),
            "active_days_28": (COUNT, "Active days of the last 28."),
            "tenure_days": (COUNT, "Days since signup."),
            "reason": (TEXT, "In words."),
        },
    ),
    "risk_groups": Table(
        "Where are the users at risk? Active users and how many are expected to do nothing in the next 28 days.",
        ("segment_name", "segment_value"),
        {
            **SEGMENT,
            "users": (COUNT, "Users active in the last 28 days."),
            "expected_inactive": (NUMBER, "Sum of their probabilities of no activity in the next 28 days."),
            "expected_rate": (NUMBER, "expected_inactive over users."),
        },
    ),
    "churn_sensitivity": Table(
        "Does the definition matter? Inactivity churn under several definitions.",
        ("inactivity_days", "segment_name", "segment_value"),
        {
            "inactivity_days": (COUNT, "Days without activity that count as churn."),
            **SEGMENT,
            "users": (COUNT, "Users observed for as many days."),
            "churned_users": (COUNT, "Of them ever inactive for as long."),
            "churn_rate": (NUMBER, "churned_users over users."),
            **_interval("the churn rate (exact below 100 users, else Wilson)"),
            "followed_users": (COUNT, "Churned users who could be followed for 28 days after."),
            "returned_users": (COUNT, "Of them active again within those."),
            "return_rate": (NUMBER, "returned_users over followed_users."),
            "return_low": (NUMBER, "Lower 95 % bound of it (exact below 100 users, else Wilson)."),
            "return_high": (NUMBER, "Upper 95 % bound of it (exact below 100 users, else Wilson)."),
            "ever_returned_users": (
                COUNT,
                "Churned users active again by the horizon; late churners had less time.",
            ),
        },
    ),
}
TABLES = {name: Table(t.description, t.grain, {**t.columns, **OBSERVED}) for name, t in TABLES.items()}


def to_arrow(name: str, table: pd.DataFrame) -> pa.Table:
    """A computed table in its published form: columns in order, of the declared types.

    Raises:
        KeyError: a declared column is missing.
        pyarrow.ArrowInvalid: a value does not fit its type.
    """
    schema = TABLES[name].schema()
    columns = [
        # pandas gives a column without any value a type of its own
        pa.nulls(len(table), field.type)
        if table[field.name].isna().all()
        else pa.Array.from_pandas(table[field.name], type=field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
