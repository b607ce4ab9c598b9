"""The lease: one holder at a time, each new one with a higher token."""

from support.clock import HandClock

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import TTL_MS, Lease


def lease(database: Database, owner: str, clock: HandClock) -> Lease:
    return Lease(database, Keys(), "account", owner, clock)


async def test_inc_16_a_second_engine_is_refused_and_told_who_holds_the_lease(database: Database) -> None:
    clock = HandClock()
    one, two = lease(database, "one", clock), lease(database, "two", clock)
    assert await one.renew() == ""
    assert await two.renew() == "one:1"
    assert (one.is_held, two.is_held) == (True, False)
    assert (one.token, two.token) == (1, 0)


async def test_renewing_keeps_the_token_and_sets_the_time_to_live_again(database: Database) -> None:
    one = lease(database, "one", HandClock())
    await one.renew()
    await database.client.pexpire("quantum:engine:lease:account", 100)
    assert await one.renew() == ""
    assert one.value == "one:1"
    assert TTL_MS - 1000 < await database.client.pttl("quantum:engine:lease:account") <= TTL_MS


async def test_inc_15_after_it_ran_out_the_next_holder_has_a_higher_token_and_the_first_is_refused(
    database: Database,
) -> None:
    clock = HandClock()
    one, two = lease(database, "one", clock), lease(database, "two", clock)
    await one.renew()
    await database.client.delete("quantum:engine:lease:account")  # as if its time had passed
    assert await two.renew() == ""
    assert two.token > one.token
    assert await one.renew() == two.value
    assert not one.is_held


async def test_an_engine_comes_back_with_a_new_token_when_its_lease_ran_out_unnoticed(
    database: Database,
) -> None:
    one = lease(database, "one", HandClock())
    await one.renew()
    first = one.value
    await database.client.delete("quantum:engine:lease:account")
    assert await one.renew() == ""
    assert one.value != first
    assert one.token == 2


async def test_a_lease_that_is_not_renewed_is_not_held_by_the_engines_own_clock(database: Database) -> None:
    clock = HandClock()
    one = lease(database, "one", clock)
    await one.renew()
    clock.time_s += TTL_MS / 1000
    assert not one.is_held


async def test_a_released_lease_is_free_and_only_its_holder_can_release_it(database: Database) -> None:
    clock = HandClock()
    one, two = lease(database, "one", clock), lease(database, "two", clock)
    await one.renew()
    await two.release()
    assert await two.renew() == "one:1"
    await one.release()
    assert not one.is_held
    assert await two.renew() == ""


async def test_an_owner_whose_reply_was_lost_finds_the_lease_his_own(database: Database) -> None:
    one = lease(database, "one", HandClock())
    await one.renew()
    one.value = ""
    assert await one.renew() == ""
    assert one.value == "one:1"


async def test_an_engine_knows_that_another_one_led_though_it_never_met_it(database: Database) -> None:
    clock = HandClock()
    one, two = lease(database, "one", clock), lease(database, "two", clock)
    await one.renew()
    await database.client.delete("quantum:engine:lease:account")
    await one.renew()
    assert not one.another_led  # it ran out, and nobody else had it
    await database.client.delete("quantum:engine:lease:account")
    await two.renew()
    await two.release()
    await one.renew()
    assert one.is_held
    assert one.another_led


async def test_an_engine_that_is_refused_the_lease_knows_that_another_one_leads(database: Database) -> None:
    clock = HandClock()
    one, two = lease(database, "one", clock), lease(database, "two", clock)
    await one.renew()
    await two.renew()
    assert two.another_led
    assert not one.another_led
