"""The workflows in .github: they are what GitHub's schema allows, and call what the Makefile has."""

import re
import subprocess
import sys

import pytest
import yaml

from samples import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


def refused(*paths) -> str:
    """What GitHub's schema, which the package carries, says against workflows; "" where it allows them."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def test_workflows_are_what_the_schema_allows(tmp_path):
    assert [path.stem for path in WORKFLOWS] == ["site", "tests"]
    assert refused(*WORKFLOWS) == ""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert "wrong.yml" in refused(wrong)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_of_the_makefile(path):
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    called = re.findall(r"run: make (\w+)", path.read_text(encoding="utf-8"))
    assert called
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in called)


def test_the_site_is_published_from_where_it_is_built():
    steps = yaml.safe_load(WORKFLOWS[0].read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == "build/site"
    assert 'PROJECT / "build" / "site"' in (PROJECT / "docs" / "build_site.py").read_text(encoding="utf-8")
