"""The configuration in force, and the one place where it is replaced while the engine works (SPEC 12).

``Rules`` is what one decision goes by: frozen, made from one configuration. ``RulesInForce`` holds the
current ones; whoever decides asks it anew for every plan, so a new configuration is in force from the
next plan on, and no decision sees halves of two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from quantum_trader.config import Config, TradingMode
from quantum_trader.gates import GateTables
from quantum_trader.pipeline.decide import Chain
from quantum_trader.stores.operator_state import OperatorState

log = structlog.get_logger()

Listener = Callable[[Config], None]


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How old a plan may be at first delivery, and an exit's deadline, in ms."""

    open_ms: int
    exit_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What a decision goes by."""

    chain: Chain
    ages: AgeLimits

    @classmethod
    def of(cls, config: Config) -> Rules:
        """Return the rules that ``config`` states."""
        return cls(
            Chain(config.gates.chain(), config.terms, config.hash),
            AgeLimits(config.intake.max_age_s * 1000, config.intake.exit_max_age_s * 1000),
        )


class RulesInForce:
    """Holds the configuration in force; ``replace`` takes effect on the next plan."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rules = Rules.of(config)
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Have ``listener`` called with every configuration that takes effect from now on."""
        self._listeners.append(listener)

    def replace(self, config: Config) -> None:
        """Put ``config`` into force; what needs a restart was refused before (reload.py)."""
        self.config, self.rules = config, Rules.of(config)
        for listener in self._listeners:
            listener(config)

    def obey(self, operator: OperatorState) -> None:
        """Go to dry_run where an operator wants it, and stay there until a restart (SPEC 11)."""
        if operator.dry_run and self.config.sends_orders:
            log.warning("mode_changed", mode=TradingMode.DRY_RUN.value, was=self.mode)
            self.replace(self.config.model_copy(update={"mode": TradingMode.DRY_RUN}))

    @property
    def chain(self) -> Chain:
        """The gates in order, with what they share."""
        return self.rules.chain

    @property
    def ages(self) -> AgeLimits:
        """How old plans may be."""
        return self.rules.ages

    @property
    def gates(self) -> GateTables:
        """The gates' tables."""
        return self.config.gates

    @property
    def sends_orders(self) -> bool:
        """Whether orders may be sent at all."""
        return self.config.sends_orders

    @property
    def mode(self) -> str:
        """The mode, as results name it."""
        return self.config.mode.value

    @property
    def config_hash(self) -> str:
        """The name of this configuration in results."""
        return self.rules.chain.config_hash
