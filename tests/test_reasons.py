"""Reasons are one closed list: those of the specification are all there, each with meaning and cure."""

from collections.abc import Callable
from pathlib import Path

import pytest
import reference

from quantum_trader.domain.reasons import Reason, invalid, reason_of

CHAIN = {
    "kill_switch": "kill_switch_active disarmed bsc_demoted bsc_blind not_leader",
    "kill_score": "kill_score_critical_open",
    "idempotency": "plan_id_reused",
    "rate_limit": "rate_limit_symbol rate_limit_global burst_limit_exceeded hourly_limit_exceeded "
    "safe_mode cooldown_global cooldown_symbol",
    "margin_guard": "insufficient_margin margin_usage_exceeded",
    "fund_caps": "max_positions_reached notional_per_trade_exceeded total_notional_exceeded symbol_cooldown",
    "active_slots": "active_slots_no_policy active_slots_not_in_universe active_slots_correlated "
    "active_slots_full active_slots_waiting_rotation_close active_slots_rotation_timeout",
    "position_sanity": "symbol_not_allowed cooldown_in_flight position_exists_add_denied would_flip "
    "no_position side_mismatch reconcile_hold position_side_required sanity_checks_passed",
    "exchange_sizing": "qty_below_min qty_above_max min_notional_check_failed mark_price_unavailable "
    "infeasible_sizing symbol_not_trading partial_rounds_to_zero",
}
ELSEWHERE = ["symbol_in_flight", "clock_skew", "leverage_not_set", "already_flat"]
NAMED = [(gate, code) for gate, codes in CHAIN.items() for code in codes.split()]


@pytest.mark.parametrize(("gate", "code"), NAMED)
def test_every_reason_that_the_specification_names_exists_under_its_gate(gate: str, code: str) -> None:
    reason = reason_of(code)
    assert reason is not None
    assert reason.gate == gate


@pytest.mark.parametrize("code", ELSEWHERE)
def test_the_reasons_of_sending_and_waiting_exist(code: str) -> None:
    assert reason_of(code) is not None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_meaning_and_a_cure_in_a_sentence(reason: Reason) -> None:
    assert reason.value == reason.value.lower()
    assert reason.meaning.endswith(".")
    assert len(reason.meaning) > 10
    assert reason.cure.endswith((".", "`", "…"))


def test_no_two_reasons_share_a_code() -> None:
    codes = [reason.value for reason in Reason]
    assert len(codes) == len(set(codes))


def test_the_families_of_reasons_carry_a_name() -> None:
    assert invalid("qty") == "invalid_qty"
    assert reason_of("invalid_qty") is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("config.toml", reference.config_text),
        ("docs/configuration.md", reference.configuration_text),
        ("docs/config.schema.json", reference.schema_text),
        ("docs/reasons.md", reference.reasons_text),
    ],
)
def test_what_is_generated_is_up_to_date(path: str, text: Callable[[], str]) -> None:
    stored = (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
    assert stored == text(), f"run `make docs` to bring {path} up to date"
