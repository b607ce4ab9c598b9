"""``python -m quantum_trader``."""

from quantum_trader.cli import main

main()
