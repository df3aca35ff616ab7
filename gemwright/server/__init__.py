"""The engine behind HTTP, in the shape of OpenAI's API: what clients send, who may ask for how much, what they get."""
