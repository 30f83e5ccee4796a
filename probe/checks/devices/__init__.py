"""Judgement of devices: for each kind, whether a Pod with a user namespace can use them."""
