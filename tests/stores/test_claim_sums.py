"""The sums over the claims: they spare an open the look at every claim, and never change a verdict."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from support.cases import NOW_MS, exposure, leg, number
from support.claims import LEASE, LEASE_KEY, Claims, record, settlement

from quantum_trader.stores.claims import claim_json
from quantum_trader.stores.codec import decode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import SettlementStore

CLAIMS, SUMS = "quantum:exec:claims", "quantum:exec:claim_sums"
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"]
ROOMS: list[tuple[dict[str, Any], str]] = [
    ({"positions_room": 1}, "fund_caps/max_positions_reached"),
    ({"slots_room": 1}, "active_slots/active_slots_full"),
    ({"notional_room_usdt": number("199.99")}, "fund_caps/total_notional_exceeded"),
    ({"usage_room_usdt": number("19.99")}, "margin_guard/margin_usage_exceeded"),
    (
        {"required_margin_usdt": number(10), "available_usdt": number("19.99")},
        "margin_guard/insufficient_margin",
    ),
]


class House(Claims):
    """Claims and settlements of one namespace."""

    def __init__(self, database: Database, keys: Keys) -> None:
        super().__init__(database, keys)
        self.settlements = SettlementStore(database, keys, LEASE_KEY, results_kept=1000, terminal_ttl_s=3600)

    async def settle(self, plan_id: str, symbol: str, **changes: Any) -> None:
        await self.settlements.settle(LEASE, settlement(plan_id, symbol, **changes), NOW_MS)

    async def sums(self) -> tuple[int, int, int, set[tuple[str, str]]] | None:
        """Return claims, notional, margin and (symbol, plan id) of those under way."""
        text: Any = await self.client.get(self.keys.claim_sums)
        if text is None:
            return None
        head, *lines = text.decode().split("\n")
        count, notional, margin = map(int, head.split())
        pairs = {(symbol, plan_id) for symbol, _, plan_id in (line.partition(" ") for line in lines if line)}
        return count, notional, margin, pairs

    async def check_sums(self) -> bool:
        """Check that sums which say that they hold are not too small; returns whether they say so."""
        stored: Any = await self.client.hgetall(self.keys.claims)
        claims = {name.decode(): decode(text) for name, text in stored.items()}
        sums = await self.sums()
        if sums is None or sums[0] != len(claims):
            return False
        _, notional, margin, under_way = sums
        opens = [claim for claim in claims.values() if claim["kind"] == "open"]
        assert notional >= sum(claim["notional"] + claim["base_notional"] for claim in opens)
        assert margin >= sum(claim["margin"] for claim in opens)
        assert under_way >= {
            (claim["symbol"], name) for name, claim in claims.items() if "settled_epoch" not in claim
        }
        return True


@pytest.fixture
async def house(database: Database, keys: Keys) -> House:
    await database.client.set(LEASE_KEY, LEASE)
    return House(database, keys)


async def test_what_is_claimed_is_summed_and_what_is_settled_is_under_way_no_more(house: House) -> None:
    await house.open("a", "BTCUSDT")
    await house.open("b", "ETHUSDT", notional=50)
    await house.exit("c", "SOLUSDT")
    under_way = {("BTCUSDT", "a"), ("ETHUSDT", "b"), ("SOLUSDT", "c")}
    assert await house.sums() == (3, 150_000_000, 20_000_000, under_way)
    await house.settle("a", "BTCUSDT", filled_open=True)
    await house.settle("c", "SOLUSDT")
    assert await house.sums() == (2, 150_000_000, 20_000_000, {("ETHUSDT", "b")})
    await house.settle("b", "ETHUSDT", seen_claims=("a",))
    assert await house.sums() == (0, 150_000_000, 20_000_000, set())
    await house.open("d", "BTCUSDT")
    assert await house.sums() == (1, 100_000_000, 10_000_000, {("BTCUSDT", "d")})


@pytest.mark.parametrize(("room", "refusal"), ROOMS)
async def test_money_of_claims_that_are_gone_refuses_nobody(
    house: House, room: dict[str, Any], refusal: str
) -> None:
    """The sums would: they forget it only where they are made anew."""
    await house.exit("c", "XRPUSDT")
    await house.open("a", "BTCUSDT")
    await house.settle("a", "BTCUSDT", return_rate_token=True)
    assert await house.open("b", "ETHUSDT", **room) == ""
    assert await house.sums() == (2, 100_000_000, 10_000_000, {("XRPUSDT", "c"), ("ETHUSDT", "b")})
    assert await house.open("d", "ADAUSDT", **room) == refusal


async def _claim_of_another(house: House) -> None:
    other = claim_json(record("ghost", "BTCUSDT"), exposure("ghost", "BTCUSDT"))
    await house.client.hset(CLAIMS, "ghost", other)  # type: ignore[arg-type]


async def _sums_lost(house: House) -> None:
    await house.open("ghost", "BTCUSDT")
    await house.client.delete(SUMS)


async def _sums_of_nonsense(house: House) -> None:
    await house.open("ghost", "BTCUSDT")
    await house.client.set(SUMS, "1 0 nonsense")


async def _sums_of_another_type(house: House) -> None:
    await house.open("ghost", "BTCUSDT")
    await house.client.delete(SUMS)
    await house.client.rpush(SUMS, "1")


async def _restored(house: House) -> None:
    await house.open("ghost", "BTCUSDT")
    await house.client.delete("quantum:exec:processed:ghost", CLAIMS)
    await house.exit("nobody", "XRPUSDT")
    await house.client.hdel(CLAIMS, "nobody")
    restored = record("ghost", "BTCUSDT")
    claim = claim_json(restored, exposure("ghost", "BTCUSDT"))
    assert await house.store.restore(LEASE, restored, claim) == "claimed"


async def _put_back_by_its_settlement(house: House) -> None:
    await house.open("ghost", "BTCUSDT")
    await house.client.delete(CLAIMS)
    claim = claim_json(record("ghost", "BTCUSDT"), exposure("ghost", "BTCUSDT"))
    await house.settle("ghost", "BTCUSDT", filled_open=True, claim=claim)
    await house.client.delete("quantum:exec:lock:BTCUSDT")


CHANGES = [_claim_of_another, _sums_lost, _sums_of_nonsense, _sums_of_another_type, _restored]


@pytest.mark.parametrize("change", [*CHANGES, _put_back_by_its_settlement])
@pytest.mark.parametrize(("room", "refusal"), ROOMS)
async def test_a_claim_that_no_sum_knows_counts_all_the_same(
    house: House, change: Any, room: dict[str, Any], refusal: str
) -> None:
    await change(house)
    assert await house.open("mine", "ETHUSDT", **room) == refusal
    assert await house.open("mine", "ETHUSDT") == ""
    assert await house.check_sums()


@pytest.mark.parametrize("change", CHANGES)
async def test_a_claim_under_way_that_no_sum_knows_keeps_opens_off_its_symbol(
    house: House, change: Any
) -> None:
    await change(house)
    await house.store.unlock("BTCUSDT", "ghost")
    assert await house.open("mine", "BTCUSDT") == "claim/symbol_in_flight"
    assert await house.open("other", "ETHUSDT") == ""
    assert await house.open("mine", "BTCUSDT") == "claim/symbol_in_flight"
    assert await house.check_sums()


async def test_an_open_of_unknown_outcome_keeps_opens_off_its_symbol_after_an_exit_passed_it(
    house: House,
) -> None:
    await house.open("unknown", "BTCUSDT")
    await house.store.unlock("BTCUSDT", "unknown")
    await house.exit("out", "BTCUSDT")
    assert await house.open("second", "BTCUSDT") == "claim/symbol_in_flight"
    await house.settle("out", "BTCUSDT")
    assert await house.open("second", "BTCUSDT") == "claim/symbol_in_flight"
    await house.settle("unknown", "BTCUSDT")
    assert await house.open("second", "BTCUSDT") == ""


@pytest.mark.parametrize(
    "claim",
    [
        "nonsense",
        "[]",
        "7",
        "{}",
        '{"kind":"open","symbol":"ETHUSDT"}',
        '{"kind":"open","symbol":"ETHUSDT","leg":"ETHUSDT","notional":"much","base_notional":0,"margin":1}',
        '{"kind":"open","symbol":"ETHUSDT","leg":null,"notional":1,"base_notional":0,"margin":1}',
    ],
)
async def test_a_claim_that_cannot_be_read_goes(house: House, claim: str) -> None:
    await house.open("a", "BTCUSDT")
    await house.client.hset(CLAIMS, "ghost", claim)
    assert await house.open("mine", "ETHUSDT") == ""
    assert set(await house.client.hgetall(CLAIMS)) == {b"a", b"mine"}
    assert await house.check_sums()


async def test_names_of_any_bytes_hide_no_claim_that_is_under_way(house: House) -> None:
    claim = claim_json(record("a", "BTCUSDT"), exposure("a", "BTCUSDT"))
    for name in (b"a\x00b", b"a\n", b"", b"\n\n", b"\xff"):
        await house.client.hset(CLAIMS, name, claim)  # type: ignore[arg-type]
    await house.exit("out", "SOLUSDT")
    assert await house.open("first", "ETHUSDT") == ""
    for symbol in ("BTCUSDT", "SOLUSDT"):
        await house.client.delete(f"quantum:exec:lock:{symbol}")
        assert await house.open("second", symbol) == "claim/symbol_in_flight"


async def test_an_add_is_summed_with_what_it_adds_to(house: House) -> None:
    adds = replace(exposure("a", "BTCUSDT"), base_notional_usdt=number(70))
    await house.open("a", "BTCUSDT", exposure=adds)
    assert (await house.sums() or ())[1] == 170_000_000
    assert (
        await house.open("b", "ETHUSDT", notional_room_usdt=number("269.99"))
        == "fund_caps/total_notional_exceeded"
    )
    assert await house.open("b", "ETHUSDT", notional_room_usdt=number(270)) == ""


async def test_who_does_not_say_what_its_readings_show_is_asked_where_it_matters(house: House) -> None:
    await house.open("a", "BTCUSDT")
    shown = {leg("BTCUSDT"): number(100)}
    tight = {"notional_room_usdt": number(150)}
    before = await house.snapshot()
    assert await house.open("b", "ETHUSDT", seen=None, **tight) == "claim/seen_needed"
    assert await house.snapshot() == before
    assert await house.open("b", "ETHUSDT", seen={}, **tight) == "fund_caps/total_notional_exceeded"
    assert await house.open("b", "ETHUSDT", seen=shown, **tight) == ""
    assert await house.open("c", "SOLUSDT", seen=None, notional_room_usdt=number(300)) == ""
    await house.client.delete(SUMS)
    assert await house.open("d", "ADAUSDT", seen=None) == "claim/seen_needed"
    assert await house.open("d", "ADAUSDT") == ""


class Play:
    """What happens at random; each of its acts does the same in whichever namespace it is let loose on."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._others_act = "forge" if seed % 2 else "lose"  # who does both may leave as many claims as before
        self.under_way: list[tuple[str, str, bool]] = []

    def next(self, turn: int, epoch: int) -> Callable[[House], Awaitable[str | None]]:
        names = ["open", "exit", "settle", "unlock", "forget", self._others_act]
        act = self._dice.choices(names, [9, 3, 8, 2, 1, 1])[0]
        plan_id, symbol = f"plan-{turn}", self._dice.choice(SYMBOLS)
        return getattr(self, f"_{act}")(plan_id, symbol, epoch)  # type: ignore[no-any-return]

    def _open(self, plan_id: str, symbol: str, epoch: int) -> Any:
        choice, known = self._dice.choice, self._dice.randint(max(0, epoch - 3), epoch)
        limits = {
            "notional": choice([50, 100]),
            "positions_room": choice([None, 2, 4, 6]),
            "slots_room": choice([None, 2, 4]),
            "notional_room_usdt": choice([None, number(300), number(500)]),
            "usage_room_usdt": choice([None, number(30), number(60)]),
            "required_margin_usdt": choice([None, number(10)]),
            "available_usdt": number(choice([40, 60])),
            "is_new_leg": choice([True, True, False]),
            "positions_epoch": known,
            "account_epoch": self._dice.randint(max(0, known - 2), known),
            "seen": choice([{}, {leg(symbol): number(60)}]),
        }
        return lambda house: house.open(plan_id, symbol, **limits)

    def _exit(self, plan_id: str, symbol: str, _: int) -> Any:
        return lambda house: house.exit(plan_id, symbol)

    def _settle(self, _: str, __: str, ___: int) -> Any:
        if not self.under_way:
            return _nothing
        plan_id, symbol, is_open = self.under_way.pop(self._dice.randrange(len(self.under_way)))
        claim = claim_json(record(plan_id, symbol), exposure(plan_id, symbol))
        filled = is_open and self._dice.random() < 0.6
        return lambda house: house.settle(plan_id, symbol, filled_open=filled, claim=claim)

    def _unlock(self, _: str, symbol: str, __: int) -> Any:
        return lambda house: house.client.delete(house.keys.lock(symbol))

    def _forget(self, plan_id: str, symbol: str, _: int) -> Any:
        async def forget(house: House) -> None:
            old = sorted(one.plan_id for one in await house.store.exposures() if one.settled_epoch)
            await house.settle(plan_id, symbol, expected_state="", seen_claims=tuple(old[:3]))

        return forget

    def _forge(self, plan_id: str, symbol: str, _: int) -> Any:
        claim = claim_json(record(plan_id, symbol), exposure(plan_id, symbol))
        return lambda house: house.client.hset(house.keys.claims, plan_id, claim)

    def _lose(self, _: str, __: str, ___: int) -> Any:
        place = self._dice.random()

        async def lose(house: House) -> None:
            names: Any = sorted(await house.client.hkeys(house.keys.claims))
            if names:
                await house.client.hdel(house.keys.claims, names[int(place * len(names))])

        return lose


async def _nothing(_: House) -> None:
    """Nothing is there to be settled."""


@pytest.mark.parametrize("seed", range(10))
async def test_with_sums_and_without_them_every_verdict_is_the_same(database: Database, seed: int) -> None:
    """What happens at random happens in two namespaces; in one of them the sums are always lost."""
    await database.client.set(LEASE_KEY, LEASE)
    summed, plain = House(database, Keys("summed")), House(database, Keys("plain"))
    play, turns_with_sums = Play(seed), 0
    for turn in range(250):
        act = play.next(turn, await summed.store.epoch())
        await plain.client.delete(plain.keys.claim_sums)
        replies = [await act(summed), await act(plain)]
        assert replies[0] == replies[1], turn
        held: Any = await summed.client.hgetall(summed.keys.claims)
        assert held == await plain.client.hgetall(plain.keys.claims)
        claim = decode(held.get(f"plan-{turn}".encode(), b"{}"))
        if replies[0] == "":
            play.under_way.append((f"plan-{turn}", claim["symbol"], claim["kind"] == "open"))
        turns_with_sums += await summed.check_sums()
    assert turns_with_sums > 50
