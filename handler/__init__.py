"""The part of Calpow that runs inside the TorchServe worker: gate, ledger, leakage scores and policy."""
