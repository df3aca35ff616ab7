"""Questions, each with an ideal answer and a judge, drawn from a seed, for training, evaluation and RL; no torch."""
