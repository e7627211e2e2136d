"""Throughput of a protected model, and the time of a query by stage."""
