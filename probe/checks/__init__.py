"""Judgements about a node: each check asks one question of its facts."""
