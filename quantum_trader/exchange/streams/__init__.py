"""Live streams of the exchange: connections that stay alive, frames that become domain records."""
