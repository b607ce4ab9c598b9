"""The producers of one engine, joined to its readings and its Redis."""

from __future__ import annotations

from quantum_trader.producers.crew import Crew
from quantum_trader.producers.harvest import Harvest
from quantum_trader.producers.intent_bridge import IntentBridge
from quantum_trader.producers.view import View
from quantum_trader.stores.connection import Database
from quantum_trader.stores.harvest import HarvestStore
from quantum_trader.stores.intents import IntentStream
from quantum_trader.stores.keys import Keys


def crew_of(view: View, database: Database, keys: Keys) -> Crew:
    """Return every producer; each asks the configuration in force whether it is on."""
    producers = (
        IntentBridge(view, IntentStream(database, keys)),
        Harvest(view, HarvestStore(database, keys)),
    )
    return Crew(producers, view.clock)
