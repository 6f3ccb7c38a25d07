"""Inside the model: attention, hidden states, and what each layer would say."""
