"""What a model is: frozen data, no torch. `spec` says what can vary; a file per family holds its pattern and sizes."""
