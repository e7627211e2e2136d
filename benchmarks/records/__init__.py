"""Detection of thieves by `calpow calibrate --from-records`."""
