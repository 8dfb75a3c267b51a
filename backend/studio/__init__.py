"""All that knows Label Studio: its configs, results, addresses and quirks. Nothing foreign leaves this package."""
