"""Every attempt at every exercise, graded by nbgrader: about two seconds each, in a Python of its own."""

import pytest

from exercises import NAMES, check_grades


@pytest.mark.parametrize("name", NAMES)
def test_solutions_and_attempts_get_the_points_that_they_should(name, course, tmp_path):
    check_grades(name, course, tmp_path)
