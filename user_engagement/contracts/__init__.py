"""What raw tables, marts and Snowplow events hold: facts that every layer may rely on."""
