"""Teachers that vote on queries: their trunks, their heads, and the artefact that holds them."""
