"""The index on disk: manifest, shards, HNSW graphs."""
