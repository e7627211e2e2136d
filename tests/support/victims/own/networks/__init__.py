"""Model files of classifiers of every kind."""
