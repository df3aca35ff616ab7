"""Prompts → tokens: requests, the schedule of a step, sampling, stopping, the engine and the chat that drive them."""
