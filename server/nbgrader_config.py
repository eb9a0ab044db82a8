"""Settings of nbgrader: make course copies them into course/, where any command of nbgrader finds them."""

c = get_config()  # noqa: F821

c.CourseDirectory.source_directory = "solutions"
c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError"}
c.ClearSolutions.text_stub = "*Your answer here.*"

# Each cell may run for two minutes; then it counts as failed, and the next one begins.
c.Execute.timeout = 120
c.Execute.error_on_timeout = {
    "ename": "TooSlow",
    "evalue": "the cell did not end within 120 seconds",
    "traceback": ["The cell did not end within 120 seconds."],
}
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
c.OverwriteCells.add_missing_cells = True  # a test that a student has deleted is run all the same
# nbgrader takes a warning in the cell of a test for a failed test; right solutions may warn.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "(?s).*"
