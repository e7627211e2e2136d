"""Copies that thieves train on stolen answers: what they can do, and what their answers cost."""
