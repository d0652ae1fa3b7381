"""Layers: each a forward and a backward on plain arrays, the backward fed by the forward's cache."""
