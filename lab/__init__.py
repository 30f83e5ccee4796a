"""Programs and doubles that prove the probe: campaigns, guests, benches, nodes."""
