# Two commands do everything on a fresh machine: `make compare` and `make test`.
.PHONY: compare boards test check setup
compare: setup
	@.venv/bin/harness compare --strategies sft,kd,rl,kd+rl $(ARGS)
boards: setup
	@ci/boards
test: setup
	@ci/test $(ARGS)
check: setup
	@ci/check
setup:
	@ci/setup
