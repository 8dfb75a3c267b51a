"""Facts: projects, the mirror of their tasks and annotations, events, versions, activations, what is published, jobs.

Knows nothing of how weights are made. Annotations have their home in Label Studio; the mirror here may be deleted and
is rebuilt by the reconciliation.
"""
