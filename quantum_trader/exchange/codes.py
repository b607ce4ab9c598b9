"""The one table of Binance's error codes: what each says about the request it answers.

Source: BINANCE.md 5, narrowed to what the engine does differently. Decide on the code, never on
the message, except for HTTP 503 (outcomes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Refusal(StrEnum):
    """What a code means for the one who sent the request."""

    UNSETTLED = "unsettled"
    """The request may have been executed: only asking can tell."""
    TRANSIENT = "transient"
    """Not executed, through no fault of the request: an exit may try again."""
    THROTTLE = "throttle"
    """Not executed: too many requests or orders. Wait as told."""
    TIME = "time"
    """Not executed: the timestamp was outside recvWindow. Measure the clock, sign once more."""
    OPERATOR = "operator"
    """Keys, permissions, account state: a person must act."""
    OPENING_FORBIDDEN = "opening_forbidden"
    """The exchange refuses what opens and still takes what reduces (BINANCE.md 12.7)."""
    MARGIN = "margin"
    """Too little margin, or too large a position for its leverage: counts as a margin failure."""
    POSITION_STATE = "position_state"
    """The live position is not what the order assumed: read it again."""
    POSITION_MODE = "position_mode"
    """One-way and hedge mode are mixed up: read the mode again."""
    PRECISION = "precision"
    """The quantity breaks a filter: load exchangeInfo again."""
    DUPLICATE = "duplicate"
    """An open order has this client order id already: ask for it."""
    NOT_FOUND = "not_found"
    """No such order, yet."""
    ALREADY_SO = "already_so"
    """The wanted state is in force already: success."""
    CONFLICT = "conflict"
    """Something on the exchange stands against it: refresh, then decide."""
    PERMANENT = "permanent"
    """The request itself is wrong: never resend it unchanged."""
    UNLISTED = "unlisted"
    """A code that this table does not know."""


_CODES: Mapping[Refusal, tuple[int, ...]] = {
    Refusal.UNSETTLED: (-1000, -1006, -1007, -1010, -2012, -4083),
    Refusal.TRANSIENT: (-1001, -1008, -1112, -2020, -4016, -4024, -4117, -4131, -5041, -5043),
    Refusal.THROTTLE: (-1003, -1015),
    Refusal.TIME: (-1021, -5028),
    Refusal.OPERATOR: (
        *(-1002, -1004, -1005, -1011, -1016, -1022, -1099, -1109),
        *(-2014, -2015, -2017, -2023),
        *(-4027, -4033, -4056, -4057, -4088, -4109, -4141, -4172),
        *(-4202, -4203, -4205, -4206, -4402, -4403),
    ),
    Refusal.OPENING_FORBIDDEN: (-4087, -4105, -4106, -4107, -4140, -4189, -4192, -4400, -4401),
    Refusal.MARGIN: (-2018, -2019, -2027, -4050, -4051),
    Refusal.POSITION_STATE: (-2022, -2024, -4118),
    # -1106 is what hedge mode answers to reduceOnly, the only optional parameter that is sent.
    Refusal.POSITION_MODE: (-1106, -4061),
    Refusal.PRECISION: (-1111, -4003, -4004, -4005, -4023, -4164),
    Refusal.DUPLICATE: (-4116,),
    Refusal.NOT_FOUND: (-2011, -2013),
    Refusal.ALREADY_SO: (-4046, -4052, -4059, -4171, -5027),
    Refusal.CONFLICT: (
        *(-1122, -1125, -2016, -2021, -2025),
        *(-4022, -4045, -4047, -4048, -4054, -4067, -4068, -4115, -4142, -4161),
        *(-4167, -4168, -4169, -4170, -4183, -4184, -4210, -4211, -4531, -5024),
    ),
    Refusal.PERMANENT: (
        *(-1013, -1014, -1020, -1023),
        *(-1100, -1101, -1102, -1103, -1104, -1105, -1108, -1110, -1113, -1114, -1115, -1116, -1117),
        *(-1118, -1119, -1120, -1121, -1126, -1127, -1128, -1130, -1136),
        *(-2010, -2026, -2028),
        *(-4000, -4001, -4002, -4006, -4007, -4008, -4009, -4010, -4011, -4012, -4013, -4014, -4015),
        *(-4017, -4018, -4019, -4020, -4021, -4025, -4026, -4028, -4029, -4030, -4031, -4032, -4044),
        *(-4049, -4053, -4055, -4058, -4060, -4062, -4063, -4064, -4065, -4066),
        *range(-4081, -4068),
        *(-4082, -4084, -4085, -4086, -4104, -4114, -4120, -4135, -4136, -4137, -4138, -4139),
        *(-4144, -4165, -4208, -4209),
        *(-5021, -5022, -5025, -5026, -5029, -5037, -5038, -5039, -5040, -5047),
    ),
}

_REFUSALS: Mapping[int, Refusal] = MappingProxyType(
    {code: refusal for refusal, codes in _CODES.items() for code in codes}
)


def refusal_of(code: int) -> Refusal:
    """Return what ``code`` means; ``Refusal.UNLISTED`` for one that is not in the table."""
    return _REFUSALS.get(code, Refusal.UNLISTED)


def listed_codes() -> frozenset[int]:
    """Every code that the table knows."""
    return frozenset(_REFUSALS)
