"""From raw rows to a prepared dataset: splits, id maps, transforms, Parquet parts."""
