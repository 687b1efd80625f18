# Needs Python 3.11 or newer and nothing else. Another one: make PYTHON=python3.12 serve
PYTHON ?= python3
BIN := .venv/bin
# Images of Python often set it. Then each of the processes that tests start compiles all of mavera again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test proofs docs screenshots coverage node-clients lint format lock image wheel clean

# Install, fetch the embedded model (1.1 GB, once), start the server; it prints a key and a first call.
serve: .venv/run
	$(BIN)/mavera models pull
	$(BIN)/mavera serve

# The slowest 15 tests are printed: one that takes long belongs into `make proofs`.
PYTEST := $(BIN)/pytest --durations=15 --durations-min=1
# Most tests wait for a process or a deadline, so four at a time keep two cores busy.
SIDE_BY_SIDE := -n 4 --dist loadfile

# Style, types, imports, then the tests that are quick, with the real embedded models.
test: lint .venv/clients/installed
	$(BIN)/mavera models pull
	$(BIN)/mavera models pull smollm2-135m
	$(PYTEST) -m "not embedded and not attack and not proof" $(SIDE_BY_SIDE)
	$(PYTEST) -m "embedded and not attack and not proof"

# What takes long or is rough: attacks on a running server, killed processes, clusters. `.ci/run` runs both.
proofs: .venv/proofs .venv/clients/installed
	$(BIN)/mavera models pull
	$(BIN)/mavera models pull smollm2-135m
	$(PYTEST) -m attack tests/attack
	$(PYTEST) -m "proof and not embedded" -n 2 --dist loadfile
	$(PYTEST) -m "proof and embedded"

# How much of the code the tests of `make test` run, line by line. It prints shares and demands none.
# Under the tracer, the server reads an endless answer too slowly to reach its limit in time.
TOO_SLOW := --deselect tests/models/test_upstream_limits.py::test_an_endless_answer_fails_after_its_stream_began
coverage: .venv/dev .venv/clients/installed
	$(BIN)/mavera models pull
	$(BIN)/mavera models pull smollm2-135m
	$(PYTEST) -m "not embedded and not attack and not proof" $(SIDE_BY_SIDE) $(TOO_SLOW) --cov --cov-report=
	$(PYTEST) -m "embedded and not attack and not proof" --cov --cov-append --cov-report=term

# Write the reference from the server's own description, then build the documentation's site into build/site.
docs: .venv/proofs
	$(BIN)/python -m docs_site.write_reference
	$(BIN)/python -m docs_site.build_site

# Fetch the clients from npm that tests/clients drives, and the checks of the console's pages and scripts, where
# node and npm are installed: 108 MB.
node-clients:
	npm install --prefix tests/clients/node --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	npm install --prefix tests/browser --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error

# Take the pictures of the console in docs/ again, with Debian's Chromium.
screenshots: .venv/proofs
	$(BIN)/python -m tests.browser.screenshots docs/images/console

# Style, types and the direction of imports.
lint: .venv/dev
	$(BIN)/ruff check src tests bench evals examples docs_site
	$(BIN)/ruff format --check src tests bench evals examples docs_site
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Build the wheel and the source archive into dist/. Install it with: pip install ./dist/….whl
wheel: .venv/dev
	$(BIN)/python -c "from setuptools import build_meta as build; print(build.build_sdist('dist'), build.build_wheel('dist'))"

# Put the code into the house format.
format: .venv/dev
	$(BIN)/ruff check --fix src tests bench evals examples docs_site
	$(BIN)/ruff format src tests bench evals examples docs_site

# Pin what pyproject.toml asks for, the reading of images and pages included, with hashes.
lock: .venv/dev
	$(BIN)/pip-compile -q --extra ocr --extra pages --extra research --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o requirements/run.txt pyproject.toml requirements/build.in
	$(BIN)/pip-compile -q --extra ocr --extra pages --extra research --extra tools --extra mcp --extra s3 --extra oidc --extra otel --extra mail --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o requirements/dev.txt pyproject.toml requirements/build.in requirements/dev.in
	$(BIN)/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o requirements/clients.txt requirements/clients.in
	$(BIN)/pip-compile -q --constraint requirements/dev.txt --extra ocr --extra pages --extra research --extra tools --extra mcp --extra s3 --extra oidc --extra otel --extra mail --extra postgres --extra redis --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o requirements/image.txt pyproject.toml requirements/build.in requirements/image.in
	$(BIN)/pip-compile -q --constraint requirements/dev.txt --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o requirements/proofs.txt requirements/proofs.in

# Build the images of the server and of the router with the builder that is installed: make image MODEL=qwen2.5-coder-1.5b
# The first of docker, podman and buildah that works is taken. BASE is another image with Python 3.11, and
# BUILD_OPTIONS are passed on, such as --volume for certificates.
TAG ?= 0.2.0
MODEL ?=
BASE ?=
BUILD_OPTIONS ?=
BUILDER = $(firstword $(foreach one,docker podman buildah,$(shell $(one) version >/dev/null 2>&1 && echo $(one))))
BUILD = $(BUILDER) build $(BUILD_OPTIONS) $(if $(BASE),--build-arg BASE=$(BASE)) -f deploy/Dockerfile
image:
	@test -n "$(BUILDER)" || { echo "make image needs docker with its daemon, podman or buildah."; exit 1; }
	$(BUILD) --target server --build-arg MODEL=$(MODEL) -t mavera:$(TAG) .
	$(BUILD) --target router -t mavera-router:$(TAG) .

# Remove what the targets above made here; models and data stay.
clean:
	rm -rf .venv .coverage .coverage.* tests/clients/node/node_modules tests/browser/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info

# The virtual environment as a user has it: pinned, hashes checked.
.venv/run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	# The distribution's former name belongs to another project: both would own the folder and the command.
	! $(BIN)/python -m pip show --quiet mavera 2>/dev/null || $(BIN)/python -m pip uninstall --quiet --yes mavera
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The same, with what tests and lints need.
.venv/dev: .venv/run requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

# What only the slow suite needs: a browser's driver, the documentation's site, and the checks of deploy/.
.venv/proofs: .venv/dev requirements/proofs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/proofs.txt
	touch $@

# Other people's clients, in an environment of their own: their versions are not mavera's.
.venv/clients/installed: requirements/clients.txt
	test -x .venv/clients/bin/python || $(PYTHON) -m venv .venv/clients
	.venv/clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.txt
	touch $@
