"""What people type: `main` holds the application, every command has a file of its own."""
