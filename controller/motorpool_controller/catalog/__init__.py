"""What is known of models that lie elsewhere: hubs are asked for headers, and what they said is kept."""
