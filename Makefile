# Everything that a checkout does, with its own environment (.venv/ and build/): no ROS installation, no GPU needed.
# A target that needs the environment makes it first; when nothing has changed that takes a fraction of a second.

.DEFAULT_GOAL := help
.PHONY: help setup demo robot test base-test base-ros-test base lint ros-build clean distclean
MAKEFLAGS += --no-print-directory
# Idle threads of OpenMP sleep instead of spinning; see docs/performance.md.
export OMP_WAIT_POLICY ?= PASSIVE

# The Python to make the environment with: 3.11 or 3.12. The first of these that is one; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1 && { echo $$p; exit; }; \
	done; echo python3)

# The distribution of ROS 2, jazzy or kilted, each in an environment of its own.
ROS ?= jazzy
ENV := . $(if $(filter jazzy,$(ROS)),build,build/$(ROS))/env.sh
# Nothing of an environment that is active: this one is to be alone.
BASE := env -u PYTHONPATH -u PYTHONHOME -u VIRTUAL_ENV build/base/bin

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  make demo takes BAG=bag or folder, RATE=rate point (1), STEPS=n (2), OUT=folder, or any option as ARGS=\"...\":"
	@echo "  RATE=4 STEPS=1 is the finest and softest, ARGS=--rectify-images is for EuRoC, ARGS=--help lists them all."
	@echo "  make test and make base-test take pytest's options as ARGS=\"...\", e.g. ARGS=\"test/codec -x\"."
	@echo "  ROS=kilted takes ROS 2 Kilted instead of Jazzy: make test ROS=kilted."
	@echo "  make robot and make base-test take any Python from 3.11 on as PYTHON=..., and other versions of packages than the"
	@echo "  pinned ones as WITH=\"'numpy<2' onnxruntime==1.23.2\"."
	@echo "  Without a GPU, before the first call: export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"

setup:  ## environment with ROS 2 from wheels, and this package built in it
	@command -v $(PYTHON) >/dev/null || { echo "set-up: $(PYTHON) is not there: apt install python3 python3-venv python3-dev" >&2; exit 1; }
	@$(PYTHON) tools/setup_env.py --ros $(ROS)

demo: setup  ## a stereo drive through encoder node, DDS and decoder node; leaves pictures, video and figures
	@$(ENV) && python -m mdic_ros.cli.demo $(if $(BAG),--bag '$(BAG)') $(if $(STEPS),--steps '$(STEPS)') \
		$(if $(RATE),--rate '$(RATE)') $(if $(OUT),--out '$(OUT)') $(ARGS)

robot: base  ## the robot's half: the base install, without PyTorch, encodes the sample drive
	@$(BASE)/mdic encode sample/street build/robot_packets --size 128x256 --rate-point 2 --force
	@$(BASE)/mdic info build/robot_packets

test: setup  ## the test suite
	@$(ENV) && python -m pytest $(ARGS)

base:  ## environment with the base install alone (build/base/)
	@$(PYTHON) tools/base_env.py $(WITH)

base-test: base  ## the tests of the base install, in an environment of its own (build/base/)
	@$(BASE)/python -m pytest test/base $(ARGS)

base-ros-test: setup  ## encoder_node with ROS and the base install, without PyTorch (build/base-ros/)
	@$(PYTHON) tools/base_env.py --ros
	@. build/base-ros/env.sh && python -m pytest test/base/test_encoder_node.py $(ARGS)

lint: setup  ## ruff and mypy
	@$(ENV) && ruff check . && mypy

ros-build:  ## build messages and nodes again
	@$(PYTHON) tools/setup_env.py --ros $(ROS) --rebuild

clean:  ## remove what was built and cached; the environment stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find mdic_ros launch test tools -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove the environment too
	rm -rf .venv .venv-kilted
