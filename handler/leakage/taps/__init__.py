"""Hooks on the layers of the victim that scores look into, and the search for these layers."""
