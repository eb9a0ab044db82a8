"""cldf-mini, the embedded benchmark: shipped photographs, and fakes that small forgers make of them."""
