"""Domains x users x thieves: data, trained victims, strangers and honest users' shifts to measure policies on."""
