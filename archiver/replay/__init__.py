"""Recorded attacks, replayed under the paper's rule."""
