"""The life of a cost model: trained, kept in versions, updated, watched for drift, published, taken back."""
