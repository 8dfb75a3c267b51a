"""The loop offline, with gold labels instead of annotators: what an order of labelling would have saved."""
