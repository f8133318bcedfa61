"""One file per ranker: what it computes from dense features and pooled embeddings."""
