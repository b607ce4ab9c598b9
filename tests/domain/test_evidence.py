"""What was known, and how old it was: also after the clock was set back."""

import pytest

from quantum_trader.domain.evidence import Evidence, EvidenceMissing, Fact, Reading

FACT: Fact[str] = Fact("balance")


@pytest.mark.parametrize("read_at_ms", [9_000, 10_000, 11_000])
def test_a_reading_within_its_age_counts_either_way(read_at_ms: int) -> None:
    evidence = Evidence(10_000, {"balance": Reading("known", read_at_ms, "test")})
    assert evidence.get(FACT, age_ms_max=1_000) == "known"


@pytest.mark.parametrize("read_at_ms", [8_999, 11_001])
def test_one_from_the_future_is_as_old_as_one_from_the_past(read_at_ms: int) -> None:
    evidence = Evidence(10_000, {"balance": Reading("known", read_at_ms, "test")})
    with pytest.raises(EvidenceMissing, match="1001 ms old, at most 1000 ms allowed"):
        evidence.get(FACT, age_ms_max=1_000)
    assert evidence.find(FACT, age_ms_max=1_000) is None
    assert evidence.get(FACT) == "known"
