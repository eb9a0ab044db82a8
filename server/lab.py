"""Settings of JupyterLab: jupyter lab --config=server/lab.py (or: make lab)."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

c = get_config()  # noqa: F821

project = Path(__file__).resolve().parent.parent
c.ServerApp.root_dir = str(project)  # jupytext finds its settings in pyproject.toml
c.LabApp.default_url = "/lab/tree/notebooks/00_start_here.ipynb"
# By the settings beside this file, .py files of notebooks open as notebooks, and notebooks are saved with their
# widgets, whose pictures are then seen without a kernel, too. The user's own settings stand before them.
os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
    filter(None, [str(project / "server"), os.environ.get("JUPYTER_CONFIG_PATH")])
)
# An upload is one message; notebook 13 says how large it may be.
c.ServerApp.tornado_settings = {"websocket_max_message_size": 256 * 2**20}


def git(*words):
    """Whether a command of git succeeds in the project's folder."""
    return subprocess.run(["git", "-C", str(project), *words], capture_output=True).returncode == 0


def unchanged(os_path, **_):
    """Tells git that a saved file is as it was where the filter leaves no change; else its size alone would count."""
    if git("diff", "--quiet", "--", os_path):
        git("update-index", "--", os_path)


# What running a notebook writes into it is no change for git (.gitattributes names the files).
command = f'"{Path(sys.executable).as_posix()}" docs/strip_notebooks.py'
try:
    filtered = (project / ".git").exists() and git("config", "filter.notebook.clean", command)
except OSError:  # there is no git here
    filtered = False
if filtered:
    warnings.filterwarnings("ignore", "Overriding existing post_save_hook")  # jupyter_server sets it twice
    c.FileContentsManager.post_save_hook = unchanged
    print("git leaves outputs, counts and timing out of what it sees of notebooks (filter.notebook in .git/config)")
else:
    print("This is no repository of git: make strip takes outputs out of notebooks")
