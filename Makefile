# kvproof. `make help` lists what there is.
#
# Everything is installed below .cache/ and reused until a requirements file changes:
#   .cache/venv       Ansible, the validator's needs, the rehearsal engines' needs, the test tools
#   .cache/vllm-venv  the real stack: vLLM for CPUs, LMCache, NIXL
#   .cache/docs-venv  what builds the documentation's site

.DEFAULT_GOAL := help
.PHONY: help install install-ansible install-dev install-lab demo up down faults \
	quick test hostile fuzz browser versions test-real lint types unit molecule molecule-hosts coverage docs hooks lock audit \
	release sanity cores

# the first Python 3.11 that can make a virtual environment; PYTHON=... names another
PYTHON ?= $(shell for python in python3.11 /usr/bin/python3.11 /usr/local/bin/python3.11 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

VENV := .cache/venv
LAB_VENV := .cache/vllm-venv
DOCS_VENV := .cache/docs-venv
PIP_INSTALL := -m pip --disable-pip-version-check install -q
COLLECTIONS_OF := 12.3.0
COLLECTIONS := .cache/collections/of-$(COLLECTIONS_OF)
fingerprint = $(shell cat $(1) | sha256sum | cut -c1-16)
NEEDS := requirements.txt lab/rehearsal/requirements.txt
ANSIBLE_STAMP := $(VENV)/.installed-$(call fingerprint,$(NEEDS))
DEV_STAMP := $(VENV)/.installed-dev-$(call fingerprint,$(NEEDS) requirements-dev.txt)
LAB_STAMP := $(LAB_VENV)/.installed-$(call fingerprint,lab/requirements-lab.txt)
DOCS_STAMP := $(DOCS_VENV)/.installed-$(call fingerprint,docs/requirements.txt)

# named, so that it counts in a world-writable checkout too
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# the tools beside the interpreter, for molecule and for whoever calls ansible-playbook
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# how the engines share KV: a key of lab/cluster/plan.py's ARCHITECTURES
ARCH ?= inprocess_p2p
INVENTORY ?= inventory/demo$(if $(filter-out inprocess_p2p,$(ARCH)),_$(ARCH))
# where INVENTORY has its kv_lab_dir
LAB_DIR ?= .cache/lab
ENGINE ?= rehearsal
PLAY := $(VENV)/bin/ansible-playbook -i $(INVENTORY)
# the lab's own plays show what they change and what fails
QUIET := ANSIBLE_DISPLAY_OK_HOSTS=no ANSIBLE_DISPLAY_SKIPPED_HOSTS=no
LAB_VARS = -e kv_lab_engine=$(ENGINE) \
	$(if $(FAULT),-e kv_lab_fault=$(FAULT)) \
	$(if $(SSH_USER),-e kv_lab_ssh_user=$(SSH_USER)) $(if $(ENGINE_USER),-e kv_lab_engine_user=$(ENGINE_USER))

FAULTS := $(shell grep -L '^hosts:' lab/faults/*.yml)
REHEARSED := $(shell grep -l '^only: rehearsal' $(FAULTS))
slugs = $(sort $(basename $(notdir $(1))))

help:
	@echo 'make demo              bring a two-node cluster up, validate it, take it down; reports/ stays'
	@echo '     ENGINE=vllm       of real vLLM and LMCache (3 GB to install, once) instead of rehearsal engines'
	@echo '     ARCH=mp           in LMCache'"'"'s multiprocess mode instead of in-process P2P; or nixl_pd, lmcache_pd:'
	@echo '                       vLLM'"'"'s NixlConnector, LMCache'"'"'s prefill/decode transfer'
	@echo '     FAULT=slug        break it first; with ENGINE=vllm, too:'
	@echo '$(call slugs,$(filter-out $(REHEARSED),$(FAULTS)))' | fold -s -w 92 | sed 's/^/                       /'
	@echo '                       or, rehearsal engines only:'
	@echo '$(call slugs,$(REHEARSED))' | fold -s -w 92 | sed 's/^/                       /'
	@echo '     KEEP=1            leave it up'
	@echo '     LAB_STALL_FIX=0   with ENGINE=vllm: LMCache as shipped, lost lookup replies included'
	@echo '     SSH_USER=name     as root: log in over SSH as another user than the engines (made if missing)'
	@echo '     ENGINE_USER=name  as root: run the engines as another user (made if missing)'
	@echo 'make up, make down     only bring the cluster up (same variables), only take it down'
	@echo 'make faults            every fault of lab/faults and some healthy clusters, judged, as a table'
	@echo '     FAULT="slug ..."  only these'
	@echo '     HEALTHY=200       so many healthy clusters, each with other parameters (default 20)'
	@echo '     JOBS=3            so many clusters at a time (default 8)'
	@echo 'make quick             linters that are fast and the tests that need no cluster, in a minute'
	@echo 'make test              all linters, all tests, molecule on the rehearsal cluster and without one'
	@echo 'make browser          index.html in Chromium (apt install chromium), and what axe-core (npm) says of it'
	@echo 'make hostile          servers and nodes that hang, flood and lie, all that there are (10 minutes)'
	@echo 'make fuzz             a parser with inputs that are guided by what they reach: TARGET=log SECONDS=60'
	@echo 'make versions          read releases of LMCache and vLLM, and hold the version table to them (0.5 GB, once)'
	@echo '     WRITE=1           and write down what was read, after the table has changed'
	@echo 'make test-real         molecule on the real cluster, healthy and broken; the rehearsal is held to it'
	@echo 'make lint, types, unit, molecule   parts of make test'
	@echo 'make molecule-hosts    the last of them: containers with systemd, as root on Debian (podman, runc, debootstrap)'
	@echo '     CASES="slug ..."  only these of molecule/hosts/vars/cases.yml'
	@echo 'make coverage          which lines the tests run, counted in the processes they start, too'
	@echo '     TESTS=folder      of these tests only'
	@echo 'make docs              write the pages that follow from the code again, and build the site: .cache/site/index.html'
	@echo 'make hooks             run the fast linters before each commit in this checkout'
	@echo 'make lock              requirements.lock again: all that requirements.txt needs, pinned, with hashes'
	@echo 'make audit             ask PyPI for known holes in requirements.lock'
	@echo 'make release           the collection as an archive in dist/, and an SBOM of what it needs'
	@echo 'make sanity            ansible-test, galaxy-importer and antsibull-docs on that archive (5 minutes)'
	@echo '     ONLY="pylint ..." ansible-test alone, these of its tests'
	@echo 'make cores             playbooks and molecule on ansible-core 2.18 to 2.22, with the Pythons found (nox)'
	@echo '     CORES="2.18 ..."  only these'
	@echo 'make install           install what the demo needs (ENGINE=vllm: and the real stack)'
	@echo '     PYTHON=path       the Python 3.11 to install with'

install: install-ansible $(if $(filter vllm,$(ENGINE)),install-lab)
install-ansible: $(ANSIBLE_STAMP)
install-dev: $(DEV_STAMP)
install-lab: $(LAB_STAMP)

# $(call make-venv,FOLDER)
define make-venv
	@test -n '$(PYTHON)' || { echo 'Python 3.11 with venv and ensurepip is needed (Debian: apt-get install' \
		'python3.11-venv), or name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

# $(call quietly,COMMAND): its output is shown only when it fails
quietly = { $(1); } > .cache/install.log 2>&1 || { cat .cache/install.log >&2; exit 1; }

$(ANSIBLE_STAMP): $(NEEDS)
	$(call make-venv,$(VENV))
	@echo 'Installing Ansible into $(VENV)'
	@$(call quietly,$(VENV)/bin/python $(PIP_INSTALL) $(NEEDS:%=-r %))
	@touch $@

$(DEV_STAMP): $(NEEDS) requirements-dev.txt
	$(call make-venv,$(VENV))
	@echo 'Installing the test tools into $(VENV)'
	@$(call quietly,$(VENV)/bin/python $(PIP_INSTALL) -r requirements-dev.txt)
	@touch $(ANSIBLE_STAMP) $@

# torch's CPU build is not on PyPI: a configured mirror is tried first, then its makers' own index
$(LAB_STAMP): lab/requirements-lab.txt
	$(call make-venv,$(LAB_VENV))
	@echo 'Installing vLLM, LMCache and NIXL into $(LAB_VENV) (3 GB, 2 to 6 minutes)'
	@torch=$$(grep '^torch==' $<); $(call quietly,$(LAB_VENV)/bin/python $(PIP_INSTALL) --no-deps $$torch \
		|| $(LAB_VENV)/bin/python $(PIP_INSTALL) --no-deps --index-url https://download.pytorch.org/whl/cpu $$torch)
	@$(call quietly,$(LAB_VENV)/bin/python $(PIP_INSTALL) --no-deps -r $<)
	@touch $@

$(DOCS_STAMP): docs/requirements.txt
	$(call make-venv,$(DOCS_VENV))
	@echo 'Installing MkDocs into $(DOCS_VENV)'
	@$(call quietly,$(DOCS_VENV)/bin/python $(PIP_INSTALL) -r $<)
	@touch $@

demo: install
	@$(if $(KEEP),trap 'echo "The cluster is left as it is; make down ends it."' EXIT,\
		trap '$(QUIET) $(PLAY) playbooks/lab_down.yml' EXIT); trap 'exit 130' INT TERM; \
	$(QUIET) $(PLAY) playbooks/lab_up.yml $(LAB_VARS) && $(PLAY) -i $(LAB_DIR)/run/validate.yml validate.yml

up: install
	@$(QUIET) $(PLAY) playbooks/lab_up.yml $(LAB_VARS)

down: install-ansible
	@$(QUIET) $(PLAY) playbooks/lab_down.yml

faults: install-dev
	@$(VENV)/bin/python tests/faults/matrix.py --jobs $(or $(JOBS),8) --healthy $(or $(HEALTHY),$(if $(FAULT),0,20)) $(FAULT)

PYTEST := $(VENV)/bin/python -m pytest -q
TESTS ?= tests

test: lint unit molecule

# two processes, whatever the machine has: more gain little, and these tests must not become tight in time
quick: install-dev
	$(call fast-linters)
	$(PYTEST) -n 2 -m 'not slow and not hostile and not network'

define fast-linters
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/yamllint --strict .
	$(VENV)/bin/python docs/build.py --check
endef

lint: types
	$(call fast-linters)
	$(VENV)/bin/ansible-lint --offline --profile production

types: install-dev
	$(VENV)/bin/mypy

unit: install-dev
	$(PYTEST) -m 'not hostile and not network'

# servers and nodes that hang, flood and lie: those of make test, and those that take their time
hostile: install-dev
	$(PYTEST) tests/hostile tests/playbooks/test_in_mid_run.py

# coverage-guided, one parser at a time; atheris has wheels for Linux alone, so it is no part of the test tools
fuzz: install-dev
	@$(VENV)/bin/uv pip install --quiet --target .cache/atheris atheris==3.0.0
	@cd .cache && PYTHONPATH=atheris $(CURDIR)/$(VENV)/bin/python -W ignore $(CURDIR)/tests/hostile/fuzz_guided.py \
		'$(or $(TARGET),log)' 'fuzz-$(or $(TARGET),log)' -max_total_time=$(or $(SECONDS),60) -max_len=4000 -timeout=10 -verbosity=0 \
		-print_final_stats=1

browser: install-dev
	npm install --silent --no-save --prefix .cache/axe axe-core@4.14.1
	$(PYTEST) tests/browser

# which release of LMCache and vLLM has what: read in their sources (0.5 GB to download, once), and the table held to it
versions: install-dev
	$(if $(WRITE),$(VENV)/bin/python tests/versions/sources.py)
	$(PYTEST) tests/versions tests/unit/stack/test_versions.py

coverage: install-dev
	@rm -rf .cache/coverage && mkdir -p .cache/coverage
	$(VENV)/bin/python -m coverage run -m pytest -q -m 'not network' $(TESTS)
	@$(VENV)/bin/python -m coverage combine -q
	$(VENV)/bin/python -m coverage report

# not --quiet, by which MkDocs overlooks the warnings, too, that --strict is for
docs: install-dev $(DOCS_STAMP)
	$(VENV)/bin/python docs/build.py
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@echo 'The site: .cache/site/index.html'

hooks: install-dev
	$(VENV)/bin/pre-commit install

molecule: install-dev
	@for scenario in $(filter-out real hosts,$(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))); do \
		$(VENV)/bin/molecule test -s $$scenario || exit $$?; done
	@$(MAKE) --no-print-directory molecule-hosts

# a cluster on hosts of its own, with systemd, a journal and a network each; CASES="firewall hidepid": of its vars/cases.yml
molecule-hosts: export HOSTS_CASES := $(CASES)
molecule-hosts: install-dev
	@if ! why=$$($(VENV)/bin/python -m lab.hosts able 2>&1); then echo "molecule/hosts is skipped: $$why"; \
	else $(MAKE) --no-print-directory $(COLLECTIONS) && unshare --net $(VENV)/bin/molecule test -s hosts; fi

# connection plugins for containers and pods, which PyPI has within one package of 54 MB
$(COLLECTIONS):
	@echo 'Fetching connection plugins into .cache/collections'
	@rm -rf $(@D) && mkdir -p $(@D)
	@$(call quietly,$(VENV)/bin/python -m pip --disable-pip-version-check download -q --no-deps -d $(@D) ansible==$(COLLECTIONS_OF))
	@cd $(@D) && $(CURDIR)/$(VENV)/bin/python -c "import glob, zipfile; \
		wheel = zipfile.ZipFile(glob.glob('ansible-*.whl')[0]); \
		wheel.extractall('.', [name for name in wheel.namelist() if name.startswith(('ansible_collections/containers/podman/', \
		'ansible_collections/community/docker/', 'ansible_collections/community/library_', 'ansible_collections/kubernetes/core/'))])"
	@rm $(@D)/ansible-*.whl && touch $@

# CASES=all: every fault that real engines can make; CASES="healthy p2p-disabled": these
# ARCHS: of which architectures, all by default
test-real: export REAL_CASES := $(CASES)
test-real: install-dev install-lab
	@rm -f reports/real-failure.txt
	@for arch in $(or $(ARCHS),inprocess_p2p mp nixl_pd lmcache_pd); do \
		REAL_INVENTORY=inventory/demo$$([ $$arch = inprocess_p2p ] || echo _$$arch) $(VENV)/bin/molecule test -s real \
			|| { rc=$$?; head -c 20000 reports/real-failure.txt; exit $$rc; }; done

# after a change of requirements.txt: what it needs and what that needs, for pip install --require-hashes
lock: install-dev
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		requirements.txt -o requirements.lock

# known holes in what is pinned; asks PyPI's JSON API
audit: install-dev
	$(VENV)/bin/uv tool run --quiet --from pip-audit==2.10.1 pip-audit -r requirements.lock --require-hashes --disable-pip

# the archive, and what a validator that is installed from requirements.lock consists of, as CycloneDX
release: install-dev
	@$(VENV)/bin/python release/archive.py dist
	@$(VENV)/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock \
		--output-reproducible --of JSON -o dist/sbom.cdx.json && echo 'Created dist/sbom.cdx.json'

# what is shipped, by the tools of those who take collections in; Galaxy wants a repository to be named
sanity: install-dev
	@archive=$$($(VENV)/bin/python release/archive.py .cache/dist) \
		&& $(VENV)/bin/python release/sanity.py "$$archive" .cache/sanity $(foreach test,$(ONLY),--test $(test))
ifndef ONLY
	@archive=$$($(VENV)/bin/python release/archive.py .cache/importer https://example.invalid/kvproof) \
		&& cd .cache/importer && unset ANSIBLE_CONFIG && $(CURDIR)/$(VENV)/bin/uv tool run --quiet \
		--from galaxy-importer==0.4.44 python -m galaxy_importer.main "$$archive"
	@cd .cache/sanity/ansible_collections/kvproof/cluster && unset ANSIBLE_CONFIG && ANSIBLE_COLLECTIONS_PATH=$(CURDIR)/.cache/sanity \
		$(CURDIR)/$(VENV)/bin/uv tool run --quiet --from antsibull-docs==2.28.0 antsibull-docs lint-collection-docs \
		--plugin-docs --validate-collection-refs self .
	@cd .cache/sanity/ansible_collections/kvproof/cluster && $(CURDIR)/$(VENV)/bin/uv tool run --quiet \
		--from antsibull-changelog==0.36.0 antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml
endif

# nox has its own environments below .cache/nox, one for each version
cores: install-dev
	@$(VENV)/bin/uv tool run --quiet --from nox==2026.10.20 nox $(if $(CORES),--sessions $(addprefix core-,$(CORES)))
