"""How far a host carries: scalability over concurrency, queues, demand over time, when a limit is reached."""
