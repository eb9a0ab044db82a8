"""cldf-mini, the embedded benchmark: shipped photographs, and fakes that small generators make of them."""
