# Each target makes .venv when it is missing; none does its work twice.
PYTHON ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN := .venv/bin

.PHONY: reproduce test test-long test-gpu lint lab detector bench site slides sync strip check choose course clean

reproduce: .venv/installed
	$(BIN)/cldf reproduce $(ARGS)

# One process for each processor, at most four, each with one thread.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What takes minutes: damaged files, full disks, machines that share nothing, Slurm, where they can be had, and every
# notebook in JupyterLab, where there is a browser.
test-long: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/long

# What needs a GPU; make test runs it too where torch finds one.
test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu -s tests/gpu

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/installed
	$(BIN)/jupyter lab --config=server/lab.py

# Notebook 13 as a page in the browser, without its code; for other machines too: ARGS=--Voila.ip=0.0.0.0
detector: .venv/installed
	$(BIN)/voila notebooks/13_detector.ipynb --Voila.config_file_paths=server $(ARGS)

bench: .venv/installed
	$(BIN)/python -m pytest tests/benchmarks -s --override-ini addopts=-ra

# The book in build/site: executed notebooks, the pages in docs/ and a reference. It asks no other host.
site: .venv/installed
	$(BIN)/python docs/build_site.py

# The lecturer's slides in build/slides, for a browser and as PDF: in seconds, and without any notebook having run.
slides: .venv/installed
	$(BIN)/python docs/build_slides.py --pdf

# The .ipynb are made from the .py, without outputs; one that was edited later is not overwritten.
sync: .venv/installed
	$(BIN)/python docs/sync_notebooks.py

# What running the notebooks has written into them is taken out; git does so by itself once make lab has set it up.
strip: .venv/installed
	$(BIN)/python docs/strip_notebooks.py notebooks/*.ipynb notebooks/*.py notebooks/exercises/*.ipynb notebooks/exercises/*.py

# The five statements about the embedded benchmark, five seeds (about a quarter of an hour on two processors).
check: .venv/installed
	$(BIN)/cldf mini check

# Values of each agent's options, chosen on validation photographs (two to three hours on two processors).
choose: .venv/installed
	$(BIN)/cldf choose

# Exercises for students, and their solutions, in course/; make course SUBMISSIONS=folder grades what is handed in.
course: .venv/installed
	$(BIN)/python docs/make_course.py $(if $(SUBMISSIONS),--submissions "$(SUBMISSIONS)")

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e ".[dev]"
	touch $@
