"""Reading what was accessed when: CSV, Parquet, and the logs of S3, Cloudflare and web servers."""
