# Everything happens in .venv, which the first target that needs it makes.
#   PYTHON=    the Python that .venv is made with      (default python3)
#   TORCH=     the torch to put into it                (default: PYTHON's own, else torch==2.13.0)
#   MAX_JOBS=  how many compilers run at once          (default: as many as cores and memory allow)
#   WORKERS=   how many processes share the tests      (default: one per core, at most 4)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BASE_PYTHON := $(shell command -v $(PYTHON))
unexport PYTHONPATH PYTHONHOME
# As after `. .venv/bin/activate`: the commands below are the ones a user types.
demo test lint bench: export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The tests are spread over the cores file by file, a thread for each; where a test asks for more,
# threads that wait sleep instead of spinning, which takes the others' time.
test: export OMP_NUM_THREADS ?= 1
test: export OMP_WAIT_POLICY ?= PASSIVE
WORKERS ?= logical

CONFIG := configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py
WORK_DIR := work_dirs/$(basename $(notdir $(CONFIG)))

.DEFAULT_GOAL := help
.PHONY: help env demo test lint bench

help:
	@echo "make env    make .venv: torch, mmcv, mmdet, mmseg, mmrotate, mmext (about 15 min on two cores once)"
	@echo "make demo   train a detector on aerial photographs, evaluate it, draw its boxes"
	@echo "make test   lint and every test"
	@echo "make lint   ruff"
	@echo "make bench  speed of the ops beside what they replace"
	@echo "Options: PYTHON=python3.11  TORCH=torch==2.13.0  MAX_JOBS=2  WORKERS=2"

env:
	@$(if $(BASE_PYTHON),,echo "There is no $(PYTHON) here. Name a Python: make env PYTHON=python3.11"; exit 1)
	@$(BASE_PYTHON) tools/misc/setup_env.py $(if $(TORCH),--torch "$(TORCH)")

demo: env
	@echo "== 1/4 photographs: cutting tiles and writing COCO files (seconds)"
	python tools/dataset_converters/trees.py
	@echo "== 2/4 training (up to 10 min on two cores)"
	python tools/train.py $(CONFIG)
	@echo "== 3/4 evaluation on the other scene and the other sites (half a minute)"
	python tools/test.py $(CONFIG) "$$(cat $(WORK_DIR)/last_checkpoint)" --out $(WORK_DIR)/detections.pkl
	@echo "== 4/4 pictures (seconds)"
	python tools/analysis_tools/plot_curves.py $(WORK_DIR)
	python tools/analysis_tools/contact_sheet.py $(CONFIG) $(WORK_DIR)/detections.pkl --out $(WORK_DIR)/contact_sheet.png
	@echo "== AP and AP50 on the other scene (validation) and the other sites (cross):"
	@python -m json.tool "$$(ls -t $(WORK_DIR)/*/*.json | head -1)" | grep -E 'bbox_mAP(_50)?"'
	@echo "== the picture: $(CURDIR)/$(WORK_DIR)/contact_sheet.png"

lint: env
	ruff check .
	ruff format --check .

test: lint
	python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=10

bench: env
	python tools/benchmarks/deform_conv.py
	python tools/benchmarks/corner_pool.py
	python tools/benchmarks/rotated_iou.py
	python tools/benchmarks/gaussian_distance.py
	python tools/benchmarks/uformer_ops.py
	python tools/benchmarks/points3d.py
