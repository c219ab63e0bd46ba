"""Tables, figures and pages drawn from aggregated results."""

PAGE = "report.html"  # file name of the page of a study
