"""What `doctor` asks of the exchange: reachability, clock, key, modes, leverage, symbols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quantum_trader.cli.checks import Check
from quantum_trader.config import Config
from quantum_trader.credentials import Credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.facts import Policy
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.errors import ExchangeError, KeyRefused
from quantum_trader.exchange.settings import ExchangeSettings

SKEW_MS_NOTABLE = 1000
BAD_KEY_FORMAT = -2014
BAD_SIGNATURE = -1022


async def examine_exchange(
    config: Config, credentials: Credentials, url: str, policy: Policy | None
) -> tuple[list[Check], str]:
    """Return what was found, and the account's code where it is known."""
    settings = ExchangeSettings(
        url, credentials.api_key, credentials.api_secret, config.exchange.recv_window_ms
    )
    exchange = connect(settings, SystemClock())
    try:
        reached = await _check_reachable(exchange, url)
        if not reached[0].fine:
            return reached, ""
        symbols = await _ask("symbols", lambda: _check_symbols(exchange, config, policy))
        key = await _ask("api key", lambda: _check_key(exchange, config))
        if not key.fine:
            return [*reached, symbols, key], ""
        more = [
            await _ask("position mode", lambda: _check_modes(exchange)),
            await _ask("leverage", lambda: _check_leverage(exchange, config)),
        ]
        return [*reached, symbols, key, *more], await exchange.account.account_id()
    except ExchangeError as failed:
        return [*reached, Check("account", False, str(failed), "try again in a minute")], ""
    finally:
        await exchange.close()


async def _check_reachable(exchange: Exchange, url: str) -> list[Check]:
    try:
        offset_ms = await exchange.clock.measure()
    except ExchangeError as failed:
        return [Check("exchange", False, f"{url}: {failed}", "check network, proxy and exchange.rest_url")]
    clock = Check("clock", True, f"{offset_ms} ms off the exchange's, which is allowed for")
    if abs(offset_ms) > SKEW_MS_NOTABLE:
        found = f"{offset_ms} ms off the exchange's; it is measured and used all the same"
        clock = Check("clock", None, found, "set this machine's clock (NTP)")
    return [Check("exchange", True, f"{url} answers"), clock]


async def _ask(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await check()
    except KeyRefused as refused:
        return Check(name, False, f"refused: {refused}", _key_cure(refused))
    except ExchangeError as failed:
        return Check(name, False, str(failed), "try again; the exchange answered something unexpected")


def _key_cure(refused: KeyRefused) -> str:
    """-2015 does not say which of three it is; -2014 and -1022 do (BINANCE.md 5)."""
    if refused.code == BAD_KEY_FORMAT:
        return "the key is malformed: copy it again, without quotes or blanks"
    if refused.code == BAD_SIGNATURE:
        return "the secret does not belong to this key: copy both again, from the same page"
    return (
        "one of three: the key has no futures permission; this machine's IP is not on its allowlist; "
        "or it is a testnet key used on the live exchange, or the other way round"
    )


async def _check_key(exchange: Exchange, config: Config) -> Check:
    setup = await exchange.account.account_config()
    if not setup.can_trade:
        return Check("api key", False, "accepted, but may not trade", "give the key the futures permission")
    account = await exchange.account.account()
    purpose = "reads only" if not config.sends_orders else "may trade"
    found = f"accepted from this address, {purpose}; {account.available_balance:.2f} USDT available"
    return Check("api key", True, found)


async def _check_modes(exchange: Exchange) -> Check:
    setup = await exchange.account.account_config()
    mode = "hedge mode" if setup.hedge_mode else "one-way mode"
    if setup.multi_assets_margin:
        cure = "switch multi-assets mode off: margins are computed in USDT alone"
        return Check("position mode", False, f"{mode}, multi-assets mode", cure)
    return Check("position mode", True, f"{mode}, single-asset mode; both position modes are handled")


async def _check_leverage(exchange: Exchange, config: Config) -> Check:
    most = config.gates.margin_guard.leverage_max
    set_to = await exchange.account.leverages()
    above = {symbol: set_to[symbol] for symbol in config.symbols if set_to.get(symbol, 0) > most}
    if above:
        names = ", ".join(f"{symbol} {leverage}×" for symbol, leverage in sorted(above.items())[:4])
        cure = f"plans without `leverage` trade at it; set it to {most} or less at the exchange"
        return Check("leverage", None, f"set higher than leverage_max = {most}: {names}", cure)
    return Check("leverage", True, f"at most {most} on every symbol")


async def _check_symbols(exchange: Exchange, config: Config, policy: Policy | None) -> Check:
    rules = await exchange.market.symbol_rules()
    wanted = sorted({*config.symbols, *(policy.universe if policy is not None else ())})
    unknown = [symbol for symbol in wanted if symbol not in rules]
    if unknown:
        cure = f"remove {', '.join(unknown)} from `symbols` or the policy, or correct the spelling"
        return Check("symbols", False, f"{', '.join(unknown)} unknown to this venue", cure)
    cap = config.gates.fund_caps.max_notional_per_trade_usdt
    dear = [symbol for symbol in wanted if rules[symbol].notional_min > cap]
    if dear:
        cure = "raise gates.fund_caps.max_notional_per_trade_usdt, or drop them"
        return Check("symbols", False, f"{', '.join(dear)}: smallest order above the per-trade cap", cure)
    idle = [symbol for symbol in wanted if not rules[symbol].is_trading]
    if idle:
        return Check("symbols", None, f"not trading now: {', '.join(idle)}", "opens of them wait for TRADING")
    return Check("symbols", True, f"{len(wanted)} known, with their filters")
