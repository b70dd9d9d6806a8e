# One command each: make demo, make test, make check, make docs, make gpu, make bench. The environment is made on first use.
# The first of these that there is; `make test PYTHON=python3.13` makes a new .venv with another, after `make clean`.
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version) 2>/dev/null)) python3.11)
BIN := .venv/bin
READY := .venv/.ready
RUN ?= runs/demo

ONLY ?=

.PHONY: demo test test-slow chaos coverage check gpu bench bench-smoke docs lock audit clean

demo: $(READY)
	$(BIN)/qsit run --preset demo --out $(RUN)

test: $(READY)
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(BIN)/pytest -m "not slow and not chaos" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/pytest -m slow

# Half an hour on two cores: disturbed searches and trainings, and their table in docs/RELIABILITY.md.
chaos: $(READY)
	OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/pytest -v -m chaos tests/chaos --page docs/RELIABILITY.md

# Also of the commands that tests start and of Ray's processes; one that is killed counts for nothing.
coverage: $(READY)
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(BIN)/pytest -m "not slow and not chaos" -n 2 --dist loadfile --no-loadscope-reorder \
	--cov --cov-report=term-missing:skip-covered

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --strict $$(grep -lR '^"""pure:' --include='*.py' qsit_ray benchmarks)
	$(MAKE) test

gpu: $(READY)
	@there=$$($(BIN)/python -c "import torch; print(torch.cuda.is_available())") || exit 1; \
	if [ "$$there" = True ]; then \
	$(BIN)/pytest --gpu -n 4 -m "slow or not slow" tests/train/test_real_shape.py tests/models/test_batch.py tests/models/test_loss.py \
	&& $(BIN)/python -m evaluation.studies gpu; \
	else echo "no GPU here: nothing is tested or measured"; fi

# Speed beside what users would run instead, into docs/PERFORMANCE.md: all questions, or `make bench ONLY=scoring`.
bench: $(READY)
	$(BIN)/python -m benchmarks --only "$(ONLY)"

# Tiny sizes: whether both sides of each question give the same, never how fast.
bench-smoke: $(READY)
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(BIN)/python -m benchmarks --smoke --only "$(ONLY)"

# docs/ and the pages beside it as a site in build/site, which loads nothing from elsewhere.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The versions of constraints.txt with the hashes of their files, for pip's --require-hashes (SECURITY.md).
lock: $(READY)
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip compile -q setup.cfg --extra demo -c constraints.txt --generate-hashes --no-annotate \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command "make lock" -o requirements.lock

audit: $(READY)
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv tool run -q pip-audit@2.10.1 --no-deps --disable-pip -r constraints.txt

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	$(BIN)/pip install -qq --disable-pip-version-check --no-deps -c constraints.txt imagecorruptions-imaug imgaug
	touch $(READY)

clean:
	rm -rf .venv build *.egg-info
