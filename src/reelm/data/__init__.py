"""Data: the synthetic world now; records, shards and batches of real clips later."""
