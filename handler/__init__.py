"""What runs inside the TorchServe worker: the gate, its ledger, leakage metrics and calibration."""
