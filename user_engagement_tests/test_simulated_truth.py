"""The marts of simulated companies against what is true of them, which only the simulator knows.

**Coverage.** `WORLDS` small companies without stories, dirt included, each with a seed of its own. They share one
warehouse, where each is a value of the segment `world`; one of them also goes alone through the whole pipeline,
and its marts must hold the same rows. What is true of them is, for

- the declared churn rate of a month and the declared survival curve: closed forms of the beta-geometric model,
- retention: what one clean company shows that is `LARGE` times as large, counted day by day with numpy. Its
  standard error is a twelfth of that of a small company.

A 95 % interval of the marts holds the truth in 95 % of independent trials: months of a world (whoever is at risk
in one has stayed through those before), cohorts of a world, products of a world. How often it does, for each
`Claim`, is tested against the binomial distribution, with a family-wise error of `ALPHA` over all claims
(Bonferroni) and `SLACK` to both sides: intervals of counts have a coverage around 95 %, not of 95 % (Brown, Cai
and DasGupta 2001, "Interval estimation for a binomial proportion", Statistical Science 16(2)).

Power: with 560 trials a coverage of 87 % fails 97 times out of 100, as do rates that are off by 0.8 of their own
standard error; with the 240 of survival that is 82 %, or 1.0. Whatever is too small to be seen in single worlds
is left to the mean error over all of them, which finds 0.3. Mistaken denominators are larger by far: the usual ones
are made here on purpose, from the numbers of the same marts, and their coverage must be too low by far. A window
that is off by one day changes too little to show; `test_marts_against_oracle` is there for that.

**Stories.** A company with exactly one story, and the same company with none. Draws are addressed by user and day,
so whatever a story does not touch must be equal, row for row; what it touches must differ by what was planted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dateutil.relativedelta import relativedelta
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from user_engagement import pipeline, simulation
from user_engagement.assets.dbt import dbt_resource, window_args
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.inputs.variables import dbt_vars
from user_engagement.settings import Settings, load_settings
from user_engagement.simulation import ChannelMix, Dirt, MobileRelease, OnboardingChange, PriceChange, Stories
from user_engagement.simulation.activity import MAIN_DEVICE_SHARE
from user_engagement.simulation.config import LATEST_DAYS, PRODUCTS
from user_engagement.simulation.deliveries import deliveries
from user_engagement.simulation.growth import expected_signups
from user_engagement.simulation.population import population
from user_engagement.simulation.stories import PAID_CHANNEL
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.frames import marts
from user_engagement_tests.support.worlds import at_home

pytestmark = pytest.mark.slow

ALPHA = 0.001
SLACK = 0.01

# -- many small worlds -------------------------------------------------------------------------------------

WORLDS = 80
LARGE = 150
THROUGH = date(2025, 9, 21)
AS_OF = THROUGH - timedelta(days=LATEST_DAYS)
"""Mid-month, so that cohorts are cut; by then even the late events of that day have been delivered."""
COMPANY = simulation.WorldConfig(users=1_200, reference_end=date(2025, 9, 1), stories=Stories.none())
MONTHS = [date(2025, month, 1) for month in range(1, 10)]
FURTHEST = len(MONTHS) - 1
SURVIVAL_DAYS = (90, 150, 210)
RETENTION_PERIODS = (1, 3, 6)
WORLD_DIGITS = 10**11
"""Times the number of a world, added to the ids of its users: beyond any that the simulator gives."""


@dataclass(frozen=True)
class Companies:
    """Small worlds in one warehouse."""

    files_of_the_first: Path
    churn: pd.DataFrame
    retention: pd.DataFrame
    survival: pd.DataFrame


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Companies:
    folder = tmp_path_factory.mktemp("companies")
    for number in range(WORLDS):
        paths = simulation.write_files(replace(COMPANY, seed=1 + number), THROUGH, folder / f"{number}")
        for name, path in paths.items():
            (folder / "together" / name).mkdir(parents=True, exist_ok=True)
            told_apart = _told_apart(pq.read_table(path), number)
            pq.write_table(told_apart, folder / "together" / name / f"{number:03d}.parquet")
    home = folder / "home"
    with at_home(home):
        settings = load_settings(
            home=home,
            source="files",
            source_path=str(folder / "together"),
            as_of=AS_OF,
            segments=("world", "world_product"),
        )
        build(settings, "churn_monthly", "survival", "cohort_retention")
        with open_warehouse(settings).reader() as reader:
            churn, retention, survival = (
                reader.mart(name).read_all().to_pandas()
                for name in ("churn_monthly", "cohort_retention", "survival")
            )
    return Companies(folder / "0", churn, retention, survival)


def _told_apart(table: pa.Table, number: int) -> pa.Table:
    """A table of one world with ids that no other world has; signups get the world as an attribute."""
    columns = {name: table[name] for name in table.column_names}
    columns["user_id"] = pc.add(columns["user_id"], pa.scalar(number * WORLD_DIGITS))
    if "event_id" in columns:
        ids = pc.cast(columns["event_id"], pa.string())
        columns["event_id"] = pc.binary_join_element_wise(f"{number}", ids, "-")
    if "signup_date" in columns:
        columns["world"] = pa.array([f"{number}"] * len(table))
        product = pc.fill_null(columns["product_type"], "")
        columns["world_product"] = pc.binary_join_element_wise(f"{number}", product, "-")
    return pa.table(columns)


def build(settings: Settings, *models: str) -> None:
    """Loads the raw tables whole, and runs dbt on some models and what they read, or on all."""
    source = FilesSource(settings.source_path or "", settings.timezone)
    warehouse = open_warehouse(settings)
    for table in RAW_TABLES:
        warehouse.replace_slice(source.extract(table, Window()))
    with open_warehouse(settings).reader() as reader:
        variables = json.dumps(dbt_vars(reader, settings, datetime.now(settings.zone)))
    chosen = ["--select", " ".join(f"+{model}" for model in models)] if models else []
    arguments = ["run", *chosen, "--vars", variables, *window_args(Window())]
    dbt_resource(settings).cli(arguments, target_path=settings.dbt_target_dir).wait()


# -- what is true of them ----------------------------------------------------------------------------------


def true_churn_rate(month: date) -> float:
    """The declared churn rate of a month: of those who signed up before it and stayed, over signup days.

    Signups of a day are a Poisson number, so whoever is at risk is drawn from all signup days and products alike.
    """
    first, following = (COMPANY.day_number(day) for day in (month, month + relativedelta(months=1)))
    signup_day = np.arange(first)
    expected = expected_signups(COMPANY, month)[:first]
    at_start, at_end = (
        sum(
            share * simulation.declared_survival(product, day - 1 - signup_day)
            for product, share in COMPANY.product_shares.items()
        )
        for day in (first, following)
    )
    return 1 - float(expected @ at_end) / float(expected @ at_start)


@cache
def true_retention() -> pd.DataFrame:
    """Retention of one large, clean company by period kind, signup month and period number: `truth`."""
    config = replace(COMPANY, seed=4_242, users=LARGE * COMPANY.users, dirt=Dirt.none())
    users = population(config, AS_OF)
    last = config.day_number(AS_OF)
    signup_days = [config.day(number) for number in range(last + 1)]
    starts = {
        kind: np.array(
            [[config.day_number(begins(day, k)) for k in range(FURTHEST + 2)] for day in signup_days]
        )
        for kind, begins in PERIODS.items()
    }
    active = {kind: np.zeros((len(users), FURTHEST + 1), dtype=bool) for kind in starts}
    for day, rows in deliveries(config, users, 0, last):
        user = np.unique(rows["user_id"].to_numpy()) - 1
        for kind, start in starts.items():
            period = (start[users.signup_day[user]] <= day).sum(axis=1) - 1
            within = period <= FURTHEST
            active[kind][user[within], period[within]] = True
    months = np.array([day.replace(day=1) for day in signup_days])[users.signup_day]
    cells = []
    for kind, start in starts.items():
        eligible = start[users.signup_day][:, 1:] <= last + 1
        for k in range(FURTHEST + 1):
            counts = {"eligible": eligible[:, k], "retained": active[kind][:, k] & eligible[:, k]}
            sums = (
                pd.DataFrame({"signup_month": pd.to_datetime(months), **counts}).groupby("signup_month").sum()
            )
            cells.append(sums.reset_index().assign(period_kind=kind, period_number=k))
    known = pd.concat(cells).query("eligible > 0")
    known = known.assign(truth=known.retained / known.eligible)
    return known[["period_kind", "signup_month", "period_number", "truth"]]


PERIODS: dict[str, Callable[[date, int], date]] = {
    "relative_month": lambda day, k: day + relativedelta(months=k),
    "days_30": lambda day, k: day + timedelta(days=30 * k),
}


# -- what the marts claim about it -------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A kind of interval in independent trials, and the intervals of somebody who makes the usual mistake.

    A row of `trials` has the columns rate, ci_low, ci_high and truth; one of `naive` has the same.
    `noise` is the variance of the error relative to that of the rates alone, where the truth is an estimate.
    """

    what: str
    trials: pd.DataFrame
    naive: pd.DataFrame | None = None
    noise: float = 1.0

    def bounds(self, claims: int) -> tuple[float, float]:
        """The least and the greatest share of intervals that may hold the truth, if this is one of many claims."""
        trials, tail = len(self.trials), ALPHA / claims / 2
        least = stats.binom.ppf(tail, trials, 0.95 - SLACK)
        greatest = stats.binom.isf(tail, trials, 0.95 + SLACK)
        return float(least / trials), float(greatest / trials)

    def bias(self, trials: pd.DataFrame) -> float:
        """The mean error in standard errors of the mean."""
        error = trials.rate - trials.truth
        return float(error.mean() / (error.std() * np.sqrt(self.noise / len(error))))


def coverage(trials: pd.DataFrame) -> float:
    return float(((trials.ci_low <= trials.truth) & (trials.truth <= trials.ci_high)).mean())


def with_wilson(trials: pd.DataFrame, numerator: str, denominator: str) -> pd.DataFrame:
    """The trials with the rate of two of their columns, and its interval."""
    counts = (trials[numerator].to_numpy(), trials[denominator].to_numpy())
    low, high = proportion_confint(*counts, method="wilson")
    return trials.assign(rate=counts[0] / counts[1], ci_low=low, ci_high=high)


@pytest.fixture(scope="module")
def claims(companies: Companies) -> list[Claim]:
    of_survival = [claim_of_survival(companies, day) for day in SURVIVAL_DAYS]
    of_retention = [claim for kind in PERIODS for claim in claims_of_retention(companies, kind)]
    found = [claim_of_churn(companies), *of_survival, *of_retention]
    assert not [claim.what for claim in found if len(claim.trials) < WORLDS]
    return found


def claim_of_churn(companies: Companies) -> Claim:
    """Months of worlds. The mistake: a rate over everybody who ever signed up, gone or new or not."""
    churn = companies.churn.query("segment_name == 'world' and churn_kind == 'declared' and is_complete")
    churn = churn.assign(month=pd.to_datetime(churn.month), rate=churn.churn_rate).query("users_at_start > 0")
    truths = {pd.Timestamp(month): true_churn_rate(month) for month in MONTHS[1:]}
    churn = churn.assign(truth=churn.month.map(truths), ever=_signed_up_until_the_end_of(churn, companies))
    return Claim("declared churn rate of a month", churn, with_wilson(churn, "churned_users", "ever"))


def _signed_up_until_the_end_of(churn: pd.DataFrame, companies: Companies) -> NDArray[np.int64]:
    cohorts = companies.retention.query(
        "segment_name == 'world' and period_kind == 'calendar_month' and period_number == 0"
    )
    cohorts = cohorts.assign(month=pd.to_datetime(cohorts.signup_month)).sort_values(by="month")
    ever = cohorts.set_index(["segment_value", "month"]).groupby("segment_value").cohort_size.cumsum()
    return ever.loc[list(zip(churn.segment_value, churn.month, strict=True))].to_numpy()


def claim_of_survival(companies: Companies, day: int) -> Claim:
    """Products of worlds, at the end of a day after signup. The mistake: who is censored counts as staying."""
    curves = companies.survival.query("segment_name == 'world_product' and churn_kind == 'declared'")
    curves = curves.assign(product_type=curves.segment_value.str.partition("-")[2])
    curves = curves[curves.product_type.isin(PRODUCTS)].sort_values(by=["segment_value", "days_since_signup"])
    users = curves.groupby("segment_value").at_risk.max()
    so_far = curves[curves.days_since_signup <= day].groupby("segment_value")
    at_day = so_far.last().assign(users=users, left=users - so_far.churned.sum())
    truths = {name: simulation.declared_survival(name, np.array([day]))[0] for name in PRODUCTS}
    at_day = at_day.assign(truth=at_day.product_type.map(truths), rate=at_day.survival_rate)
    return Claim(f"declared survival at day {day}", at_day, with_wilson(at_day, "left", "users"))


def claims_of_retention(companies: Companies, kind: str) -> Iterator[Claim]:
    """Cohorts of worlds. The mistake: a rate over whole cohorts, whose younger members are still censored."""
    cells = companies.retention.query(
        "segment_name == 'world' and period_kind == @kind and eligible_users > 0"
    )
    cells = cells.assign(signup_month=pd.to_datetime(cells.signup_month), rate=cells.retention_rate_eligible)
    cells = cells.merge(true_retention(), on=["period_kind", "signup_month", "period_number"])
    noise = 1 + WORLDS / LARGE
    for k in RETENTION_PERIODS:
        complete = cells.query("period_number == @k and is_complete")
        yield Claim(f"retention in {kind} {k}", complete, noise=noise)
    # every period number cuts another cohort: here all of them are independent trials
    cut = cells.query("not is_complete")
    naive = with_wilson(cut, "retained_users", "cohort_size")
    yield Claim(f"retention in {kind} of cohorts that are cut", cut, naive, noise)


@pytest.mark.exhaustive
def test_intervals_hold_the_truth_about_as_often_as_they_say(claims: list[Claim]) -> None:
    wrong = []
    for claim in claims:
        least, greatest = claim.bounds(len(claims))
        if not least <= (share := coverage(claim.trials)) <= greatest:
            trials = len(claim.trials)
            wrong.append(f"{claim.what}: {share:.3f} of {trials}, not {least:.3f} to {greatest:.3f}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.exhaustive
def test_the_rates_of_all_worlds_together_are_not_biased(claims: list[Claim]) -> None:
    furthest = stats.norm.isf(ALPHA / len(claims) / 2)
    biases = {claim.what: round(claim.bias(claim.trials), 2) for claim in claims}
    assert {what: bias for what, bias in biases.items() if abs(bias) > furthest} == {}


@pytest.mark.exhaustive
def test_mistaken_denominators_would_be_found(claims: list[Claim]) -> None:
    """What keeps the tests above from passing whatever the marts hold."""
    found = [claim for claim in claims if claim.naive is not None]
    assert len(found) == 1 + len(SURVIVAL_DAYS) + len(PERIODS)
    for claim in found:
        least, _ = claim.bounds(len(claims))
        assert coverage(claim.naive) < least - 0.05, claim.what
        assert abs(claim.bias(claim.naive)) > 10, claim.what


@pytest.mark.exhaustive
def test_a_world_alone_through_the_whole_pipeline_has_the_rows_that_it_has_among_others(
    companies: Companies, settings_for: Callable[..., Settings]
) -> None:
    settings = settings_for(source_path=str(companies.files_of_the_first), as_of=AS_OF)
    pipeline.run(settings, pipeline.plan(settings))
    alone = marts(settings)
    together = {
        "churn_monthly": companies.churn,
        "cohort_retention": companies.retention,
        "survival": companies.survival,
    }
    segments = {("world", "0"): ("all", "all")}
    segments |= {("world_product", f"0-{name}"): ("product_type", name) for name in PRODUCTS}
    for name, among_others in together.items():
        for mine, own in segments.items():
            assert_same(segment(alone[name], *own), segment(among_others, *mine), f"{name} of {own}")


def segment(mart: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    """The rows of one segment, in the order of their grain."""
    rows = mart[(mart.segment_name == name) & (mart.segment_value == value)]
    return rows.drop(columns=["segment_name", "segment_value"]).reset_index(drop=True)


# -- one story at a time -----------------------------------------------------------------------------------

UNTOLD = simulation.WorldConfig(seed=11, users=14_000, reference_end=date(2026, 1, 1), stories=Stories.none())
STORY_THROUGH = date(2025, 12, 20)
STORY_AS_OF = STORY_THROUGH - timedelta(days=LATEST_DAYS)
"""Earlier than in the company that is simulated by default, so that less than a year shows what they do."""
PRICE = PriceChange(begins=date(2025, 4, 7))
MIX = ChannelMix(begins=date(2025, 4, 1), ends=date(2025, 10, 1))
ONBOARDING = OnboardingChange(begins=date(2025, 6, 2))
RELEASE = MobileRelease(begins=date(2025, 8, 4))

SESSIONS_BY_DEVICE = """
    select stg.device_type, stg.activity_date, count(distinct stg.event_id) as sessions
    from staging.stg_user_engagement as stg inner join user_level.users as users using (user_id)
    where stg.activity_date between users.signup_date and date '{as_of}' group by all order by all
"""


@dataclass(frozen=True)
class Telling:
    """A company: its marts, its sessions by device and day as staged, and who its users really are."""

    marts: dict[str, pd.DataFrame]
    devices: pd.DataFrame
    users: pd.DataFrame

    def segmented(self) -> dict[str, pd.DataFrame]:
        return {name: mart for name, mart in self.marts.items() if "segment_name" in mart}

    def declared(self, name: str, *segment_names: str) -> pd.DataFrame:
        """The rows about declared churn in a mart, of all segments or of some attributes."""
        mart = self.marts[name].query("churn_kind == 'declared'")
        chosen = mart.segment_name.isin(segment_names) if segment_names else slice(None)
        return mart.loc[chosen].reset_index(drop=True)

    def retention(self, period_number: int) -> pd.DataFrame:
        """Relative months of every segment and cohort."""
        cells = self.marts["cohort_retention"].query("period_kind == 'relative_month'")
        return cells[cells.period_number == period_number].reset_index(drop=True)


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Telling]:
    """The company with the given stories and no others; each is made once."""

    @cache
    def tell(**stories: object) -> Telling:
        folder = tmp_path_factory.mktemp("telling")
        config = replace(UNTOLD, stories=replace(Stories.none(), **stories))
        simulation.write_files(config, STORY_THROUGH, folder / "source")
        with at_home(folder / "home"):
            settings = load_settings(
                home=folder / "home", source="files", source_path=str(folder / "source"), as_of=STORY_AS_OF
            )
            build(settings)
            with open_warehouse(settings).reader() as reader:
                devices = reader.query(SESSIONS_BY_DEVICE.format(as_of=STORY_AS_OF)).to_pandas()
            users = simulation.truth(config, STORY_AS_OF).users.to_pandas()
            users["user_id"] = users.user_id.astype(str)
            return Telling(marts(settings), devices, users.set_index("user_id"))

    return tell


def assert_same(got: pd.DataFrame, want: pd.DataFrame, what: str) -> None:
    """Row for row; floats to 12 digits, as DuckDB adds up survival in an order that depends on other segments."""
    assert len(want), what
    pd.testing.assert_frame_equal(
        got.reset_index(drop=True), want.reset_index(drop=True), rtol=1e-12, atol=0, obj=what
    )


def before(mart: pd.DataFrame, column: str, day: date) -> pd.DataFrame:
    return mart[pd.to_datetime(mart[column]) < pd.Timestamp(day)]


def since(mart: pd.DataFrame, column: str, day: date) -> pd.DataFrame:
    return mart[pd.to_datetime(mart[column]) >= pd.Timestamp(day)]


def summed(mart: pd.DataFrame, numerator: str, denominator: str) -> pd.DataFrame:
    """Both columns and their ratio by segment, over all rows of it."""
    sums = mart.groupby(["segment_name", "segment_value"])[[numerator, denominator]].sum()
    return sums.assign(rate=sums[numerator] / sums[denominator])


@pytest.mark.exhaustive
def test_the_price_change_raises_declared_churn_of_its_product_and_of_no_other(
    tell: Callable[..., Telling],
) -> None:
    untold, told = tell(), tell(price_change=PRICE)
    for name, mart in told.segmented().items():
        for product in set(PRODUCTS) - {PRICE.product_type}:
            own = ("product_type", product)
            assert_same(segment(mart, *own), segment(untold.marts[name], *own), f"{name} of {product}")
    month = PRICE.begins.replace(day=1)
    churn = told.declared("churn_monthly"), untold.declared("churn_monthly")
    assert_same(*(before(rows, "month", month) for rows in churn), "churn before the price change")
    # by then every user has had a renewal at the new price
    settled = month + relativedelta(months=2)
    rates = [summed(since(rows, "month", settled), "churned_users", "users_at_start") for rows in churn]
    raised = (rates[0].rate / rates[1].rate)[rates[1].churned_users >= 20]
    assert 1.8 < raised["product_type", PRICE.product_type] < PRICE.hazard_factor
    assert raised.idxmax() == ("product_type", PRICE.product_type)


@pytest.mark.exhaustive
def test_the_paid_channel_grows_and_its_users_leave_while_the_other_channels_stay_as_they_were(
    tell: Callable[..., Telling],
) -> None:
    untold, told = tell(), tell(channel_mix=MIX)
    cohorts = told.marts["cohort_retention"], untold.marts["cohort_retention"]
    assert_same(*(before(rows, "signup_month", MIX.begins) for rows in cohorts), "cohorts before the growth")

    shares = {MIX.share: told, UNTOLD.channel_shares[PAID_CHANNEL]: untold}
    for share, telling in shares.items():
        paid, everyone = _signups_of_the_paid_channel(telling, MIX.ends)
        known = 1 - UNTOLD.dirt.missing_attributes
        assert stats.binomtest(paid, everyone, share * known).pvalue > 0.001

    moved = told.users.acquisition_channel != untold.users.acquisition_channel
    assert set(told.users.acquisition_channel[moved]) == {PAID_CHANNEL}
    for name in ("user_lifecycle", "user_activity_daily"):
        unmoved = (mart[~mart.user_id.map(moved)] for mart in (told.marts[name], untold.marts[name]))
        assert_same(*unmoved, f"{name} of users whose channel is the same")
    for name in ("churn_monthly", "survival"):
        segments = ("all", "product_type", "country")
        assert_same(told.declared(name, *segments), untold.declared(name, *segments), f"declared {name}")

    counts = ("retained_users", "eligible_users")
    rates = [summed(since(each.retention(2), "signup_month", MIX.begins), *counts) for each in (told, untold)]
    others = [name for name in UNTOLD.channel_shares if name != PAID_CHANNEL]
    for channel in others:
        mine = ("acquisition_channel", channel)
        assert rates[0].rate["acquisition_channel", PAID_CHANNEL] < 0.75 * rates[0].rate[mine]
        # those who stayed with the channel against those whom paid social has taken from it
        stayed, taken = rates[0].loc[mine], rates[1].loc[mine] - rates[0].loc[mine]
        table = [[each.retained_users, each.eligible_users - each.retained_users] for each in (stayed, taken)]
        assert stats.fisher_exact(np.array(table).astype(int)).pvalue > 0.001 / len(others), channel
    assert rates[0].rate["all", "all"] < rates[1].rate["all", "all"] - 0.03


def _signups_of_the_paid_channel(telling: Telling, first: date) -> tuple[int, int]:
    """Users of the paid channel and of all, in cohorts from a month on."""
    cohorts = since(telling.retention(0), "signup_month", first)
    channels = (("acquisition_channel", PAID_CHANNEL), ("all", "all"))
    paid, everyone = (int(segment(cohorts, *own).cohort_size.sum()) for own in channels)
    return paid, everyone


@pytest.mark.exhaustive
def test_the_mobile_release_takes_sessions_on_phones_and_leaves_other_devices_and_churn_alone(
    tell: Callable[..., Telling],
) -> None:
    untold, told = tell(), tell(mobile_release=RELEASE)
    for device in ("desktop", "tablet"):
        other = (each.devices[each.devices.device_type == device] for each in (told, untold))
        assert_same(*other, f"sessions on {device}")
    phones = [each.devices[each.devices.device_type == "phone"] for each in (told, untold)]
    assert_same(*(before(days, "activity_date", RELEASE.begins) for days in phones), "phones before")
    left, there_were = (int(since(days, "activity_date", RELEASE.begins).sessions.sum()) for days in phones)
    assert stats.binomtest(left, there_were, 1 - RELEASE.session_cut).pvalue > 0.001
    assert there_were > 30_000

    days = told.marts["user_activity_daily"], untold.marts["user_activity_daily"]
    assert_same(*(before(rows, "activity_date", RELEASE.begins) for rows in days), "activity before")
    later = [since(rows, "activity_date", RELEASE.begins) for rows in days]
    by_main_device = [
        rows.groupby(rows.user_id.map(untold.users.main_device)).sessions.sum() for rows in later
    ]
    kept = by_main_device[0] / by_main_device[1]
    for device in ("phone", "desktop", "tablet"):
        on_phone = MAIN_DEVICE_SHARE if device == "phone" else (1 - MAIN_DEVICE_SHARE) / 2
        assert kept[device] == pytest.approx(1 - RELEASE.session_cut * on_phone, abs=0.015)

    for name in ("churn_monthly", "survival"):
        assert_same(told.declared(name), untold.declared(name), f"declared {name}")
    sizes = [each.retention(0).drop(columns=RETENTION_COLUMNS) for each in (told, untold)]
    assert_same(*sizes, "cohorts")
    frequency = [each.marts["engagement_frequency"] for each in (told, untold)]
    month = RELEASE.begins.replace(day=1)
    assert_same(*(before(rows, "month", month) for rows in frequency), "frequency before")
    everyone = [since(segment(rows, "all", "all"), "month", month) for rows in frequency]
    assert (everyone[0].sessions_per_user < 0.92 * everyone[1].sessions_per_user).all()


@pytest.mark.exhaustive
def test_the_onboarding_change_lowers_retention_of_later_cohorts_and_leaves_earlier_ones_equal(
    tell: Callable[..., Telling],
) -> None:
    untold, told = tell(), tell(onboarding_change=ONBOARDING)
    for name in ("user_lifecycle", "user_activity_daily"):
        signed_up = [each.users.signup_date for each in (told, untold)]
        earlier = pd.to_datetime(signed_up[1]) < pd.Timestamp(ONBOARDING.begins)
        rows = (each.marts[name][each.marts[name].user_id.map(earlier)] for each in (told, untold))
        assert_same(*rows, f"{name} of users who signed up before")
    cohorts = told.marts["cohort_retention"], untold.marts["cohort_retention"]
    first = ONBOARDING.begins.replace(day=1)
    assert_same(*(before(rows, "signup_month", first) for rows in cohorts), "cohorts before")
    for name in ("churn_monthly", "survival"):
        assert_same(told.declared(name), untold.declared(name), f"declared {name}")

    later = [
        since(each.retention(1), "signup_month", first).query("eligible_users > 0") for each in (told, untold)
    ]
    everyone = [segment(rows, "all", "all") for rows in later]
    assert len(everyone[0]) == 5
    assert (everyone[0].ci_high < everyone[1].ci_low).all()
    rates = [summed(rows, "retained_users", "eligible_users") for rows in later]
    lowered = (rates[0].rate / rates[1].rate)[rates[1].eligible_users >= 400]
    assert lowered.max() < 0.92, "a segment has been spared"


RETENTION_COLUMNS = ["retained_users", "retention_rate", "retention_rate_eligible", "ci_low", "ci_high"]
