"""Reference servers: useful ones, each the best example we can give of how to write one."""
