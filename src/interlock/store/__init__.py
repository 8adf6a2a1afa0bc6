"""What must outlive a request: three ports, and backends that keep their promises."""
