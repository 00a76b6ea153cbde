"""The parts of a page that are HTML in the app and in the report alike. All text from data is escaped."""

from __future__ import annotations

from html import escape

from user_engagement.dashboard.blocks import Card, Cards, Text
from user_engagement.dashboard.look import Theme


def style(theme: Theme) -> str:
    """Rules for the classes used here; font and ground are those of what is around."""
    return f"""
.ue-headline {{font-size: 1.15rem; line-height: 1.5; margin: 0 0 .25rem; max-width: 60rem}}
.ue-filters, .ue-about, .ue-summary {{color: {theme.muted}; font-size: .875rem; line-height: 1.45; margin: 0}}
.ue-summary {{margin-bottom: .25rem}}
.ue-title {{font-size: 1.05rem; font-weight: 600; margin: .75rem 0 .15rem; padding: 0; color: inherit}}
.ue-cards {{display: grid; gap: .75rem; margin: .5rem 0}}
.ue-cards {{grid-template-columns: repeat(auto-fill, minmax(11.4rem, 1fr))}}
@media (max-width: 640px) {{.ue-cards {{grid-template-columns: 1fr 1fr}}}}
.ue-card {{display: flex; flex-direction: column; gap: .15rem; padding: .75rem .9rem}}
.ue-card {{border: 1px solid {theme.grid}; border-radius: .5rem; font-variant-numeric: tabular-nums}}
.ue-card h3 {{font-size: .875rem; font-weight: 600; margin: 0; padding: 0; color: {theme.muted}}}
.ue-value {{font-size: 1.6rem; font-weight: 600; line-height: 1.2}}
.ue-card p {{margin: 0; font-size: .8125rem; line-height: 1.4; color: {theme.muted}}}
.ue-card .ue-good {{color: {theme.good}}} .ue-card .ue-bad {{color: {theme.bad}}}
.ue-card details {{font-size: .8125rem; line-height: 1.4; color: {theme.muted}; margin-top: auto; padding-top: .25rem}}
.ue-card summary {{cursor: pointer; text-decoration: underline dotted}}
.ue-list {{margin: 0; padding-left: 1.1rem; line-height: 1.55; max-width: 60rem}}
"""


def title(text: str) -> str:
    return f'<h2 class="ue-title">{escape(text)}</h2>'


def paragraph(text: str, kind: str) -> str:
    return f'<p class="ue-{kind}">{escape(text)}</p>'


def cards(block: Cards) -> str:
    """KPI cards; the definition is shown on hover and on demand."""
    return f'{title(block.title)}<div class="ue-cards">{"".join(map(_card, block.cards))}</div>'


def text(block: Text) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in block.sentences)
    return f'{title(block.title)}<ul class="ue-list">{items}</ul>'


def _card(card: Card) -> str:
    tone = {"better": "ue-good", "worse": "ue-bad"}.get(card.verdict, "")
    lines = [f'<p class="{tone}">{escape(_change(card))}</p>'] if card.change else []
    if card.interval:
        lines.append(f"<p>95 % interval {escape(card.interval)}</p>")
    lines.append(f"<p>{escape(card.period)}</p>")
    if card.note:
        lines.append(f"<p>{escape(card.note)}</p>")
    return (
        f'<section class="ue-card" data-kpi="{escape(card.key)}" title="{escape(card.definition)}">'
        f'<h3>{escape(card.label)}</h3><div class="ue-value">{escape(card.value)}</div>{"".join(lines)}'
        f"<details><summary>Definition</summary>{escape(card.definition)}</details></section>"
    )


def _change(card: Card) -> str:
    """Says good or bad in words as well, not by colour alone."""
    verdict = f", {card.verdict}" if card.verdict else ""
    return f"{card.change} on {card.before}{verdict}"
