"""Reading what lies in a bucket from S3 Inventory, and who read it from access logs."""
