"""HTTP: the protocol that Label Studio calls, and the API for people and programs. Knows no torch and starts no job:
it reads the registry, asks the models in memory, and writes events."""
