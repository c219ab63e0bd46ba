"""Cost, plan and run of a study, and studies for the user's own data."""
