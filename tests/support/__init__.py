"""Servers, clients, victims and inputs that tests share."""
