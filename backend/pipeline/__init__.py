"""The verbs: mirror, refresh, retrain, publish — the only place where the parts meet. Every step can be run again."""
