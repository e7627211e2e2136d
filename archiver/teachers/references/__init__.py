"""Fitting of the statistics of the training data that scores compare queries with."""
