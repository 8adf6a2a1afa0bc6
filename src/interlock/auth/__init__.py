"""Who is calling, and proving who we are."""
