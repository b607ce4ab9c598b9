"""Redis: names of keys, streams, atomic scripts, the embedded server; and the state directory."""
