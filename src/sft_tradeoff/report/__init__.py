"""Tables, figures and pages drawn from aggregated results."""
